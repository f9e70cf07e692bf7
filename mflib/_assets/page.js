"use strict";
const toggle = document.getElementById("toggle-code");
toggle.addEventListener("click", () => {
  const open = toggle.getAttribute("aria-pressed") !== "true";
  toggle.setAttribute("aria-pressed", String(open));
  toggle.textContent = open ? "Hide all code" : "Show all code";
  for (const code of document.querySelectorAll("details.code")) code.open = open;
});

// On a phone the contents stand above the text: folded, so that the report comes first.
const contents = document.querySelector("nav details");
if (matchMedia("(max-width: 60rem)").matches) contents.open = false;

// The contents follow the reader, up and down: the last heading above the upper third is where one reads.
const nav = document.querySelector("nav");
const places = [...nav.querySelectorAll("a")]
  .map((link) => ({ link, target: document.getElementById(link.hash.slice(1)) }))
  .filter(({ target }) => target);
nav.classList.add("follows"); // without a script all entries stay open
let current = null;
const follow = () => {
  const shown = places.filter(({ target }) => target.getClientRects().length);
  const here = shown.findLast(({ target }) => target.getBoundingClientRect().top < innerHeight / 3) ?? shown[0];
  if (!here || here.link === current) return;
  current?.removeAttribute("aria-current");
  current = here.link;
  current.setAttribute("aria-current", "true");
  const chapter = current.closest("nav details > ol > li");
  for (const item of nav.querySelectorAll("details > ol > li")) item.classList.toggle("open", item === chapter);
  const frame = nav.getBoundingClientRect(), at = current.getBoundingClientRect();
  if (at.top < frame.top || at.bottom > frame.bottom) nav.scrollTop += at.top - frame.top - frame.height / 3;
};
let waiting = false;
addEventListener("scroll", () => {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; follow(); });
}, { passive: true });
follow();

// An appendix is folded: whoever jumps into it finds it open.
const unfold = () => {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const fold = target?.closest("details.appendix");
  if (!fold || fold.open) return;
  fold.open = true;
  target.scrollIntoView();
};
addEventListener("hashchange", unfold);
unfold();

// A table is a stop of the keyboard only where it scrolls.
const stops = () => {
  for (const table of document.querySelectorAll("div.table")) {
    if (table.scrollWidth > table.clientWidth) table.tabIndex = 0;
    else table.removeAttribute("tabindex");
  }
};
addEventListener("resize", stops);
document.addEventListener("toggle", stops, true);
stops();
