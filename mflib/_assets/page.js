"use strict";
// The page's language may change while it is open; what the script says then follows.
const say = (text, fields = {}) =>
  (WORDS[document.documentElement.lang]?.[text] ?? text).replace(/\{(\w+)\}/g, (_, name) => fields[name]);
const spoken = new Map();
const speak = (element, text) => { spoken.set(element, text); element.textContent = text(); };
new MutationObserver(() => { for (const [element, text] of spoken) element.textContent = text(); })
  .observe(document.documentElement, { attributeFilter: ["lang"] });

const toggle = document.getElementById("toggle-code");
speak(toggle, () => say("Show code"));
toggle.addEventListener("click", () => {
  const open = toggle.getAttribute("aria-pressed") !== "true";
  toggle.setAttribute("aria-pressed", String(open));
  speak(toggle, () => (open ? say("Hide code") : say("Show code")));
  document.body.classList.toggle("with-code", open);
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

// Appendices and asides are folded: whoever jumps into one finds it open, and a heading that is hidden at its fold.
const unfold = () => {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const folds = ["details.aside", "details.appendix"].map((kind) => target?.closest(kind)).filter(Boolean);
  if (!folds.length) return;
  for (const fold of folds) fold.open = true;
  (target.getClientRects().length ? target : folds[0]).scrollIntoView();
};
addEventListener("hashchange", unfold);
unfold();

// What can be wider than the page is a stop of the keyboard only where it scrolls.
const stops = () => {
  for (const wide of document.querySelectorAll("div.table, figure")) {
    if (wide.scrollWidth > wide.clientWidth) wide.setAttribute("tabindex", "0");
    else wide.removeAttribute("tabindex");
  }
};
addEventListener("resize", stops);
document.addEventListener("toggle", stops, true);
stops();

// What a reader takes away: a table as text for a sheet or as CSV, a figure at its full size or as a file.
const button = (text, act) => {
  const made = document.createElement("button");
  made.type = "button";
  speak(made, text);
  made.addEventListener("click", () => act(made));
  return made;
};
const rowsOf = (table) => [...table.rows].map((row) => [...row.cells].map((cell) => cell.textContent.replace(/\u2212(?=\d)/g, "-")));
const save = (name, content, type) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
};
const quoted = (cell) => (/[",\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
for (const frame of document.querySelectorAll("main div.table")) {
  const table = frame.querySelector("table");
  const bar = document.createElement("span");
  bar.className = "take";
  bar.append(
    button(() => say("Copy"), async (made) => {
      const text = rowsOf(table).map((row) => row.join("\t")).join("\n");
      let told = () => say("Copied");
      try { await navigator.clipboard.writeText(text); } catch { told = () => say("Not allowed here"); }
      speak(made, told);
      setTimeout(() => speak(made, () => say("Copy")), 2000);
    }),
    button(() => "CSV", () => {
      const text = rowsOf(table).map((row) => row.map(quoted).join(",")).join("\r\n");
      save(`${table.id.replace(/^table-/, "") || "table"}.csv`, `\ufeff${text}\r\n`, "text/csv");
    }),
  );
  // A long table begins folded to its head; the paper's own tables stand whole.
  const rows = table.tBodies[0] ? table.tBodies[0].rows.length : 0;
  if (rows > 12 && !table.id.startsWith("table-table")) {
    table.classList.add("head");
    const folded = () => table.classList.contains("head");
    bar.append(button(() => (folded() ? say("All {rows} rows", { rows }) : say("Fewer rows")), (made) => {
      table.classList.toggle("head");
      made.textContent = spoken.get(made)();
    }));
  }
  table.caption.append(bar);
}
const dialog = document.createElement("dialog");
dialog.className = "large";
dialog.addEventListener("click", () => dialog.close());
document.body.append(dialog);
// A picture for slides and texts: dark on white, whatever the page is.
const asPicture = async (picture, name) => {
  const drawing = atob(picture.src.split(",")[1]).replace("@media (prefers-color-scheme: dark)", "@media not all");
  const light = new Image();
  light.src = `data:image/svg+xml;base64,${btoa(drawing)}`;
  await light.decode();
  const canvas = document.createElement("canvas"), dense = 2400 / light.width;
  [canvas.width, canvas.height] = [2400, Math.round(light.height * dense)];
  const pen = canvas.getContext("2d");
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(light, 0, 0, canvas.width, canvas.height);
  canvas.toBlob((content) => save(`${name}.png`, content, "image/png"));
};
for (const figure of document.querySelectorAll("main figure")) {
  const picture = figure.querySelector(":scope > img");
  if (!picture) continue;
  const bar = document.createElement("span");
  bar.className = "take";
  const name = figure.id.replace(/^figure-/, "") || "figure", drawing = picture.src.startsWith("data:image/svg");
  const link = document.createElement("a");
  link.href = picture.src;
  link.download = `${name}.${drawing ? "svg" : "png"}`;
  link.textContent = drawing ? "SVG" : "PNG";
  const enlarge = () => {
    dialog.setAttribute("aria-label", say("Figure at full size"));
    dialog.replaceChildren(picture.cloneNode());
    dialog.showModal();
  };
  bar.append(button(() => say("Enlarge"), enlarge), link);
  if (drawing) bar.append(button(() => "PNG", () => asPicture(picture, name)));
  figure.querySelector("figcaption").append(bar);
}

// A chart comes alive when the reader nears it: its picture gives way to what its specification draws, light or dark as
// the page. What it says in words stands below it for who cannot see it, and is said again when it changes.
const scheme = matchMedia("(prefers-color-scheme: dark)");
const draw = async (figure) => {
  let held = figure.querySelector(":scope > script").textContent;
  if (scheme.matches) for (const [light, dark] of Object.entries(DARK)) held = held.replaceAll(`"${light}"`, `"${dark}"`);
  const place = document.createElement("div"), told = document.createElement("output");
  place.className = "drawn";
  const options = { ast: true, actions: false, renderer: "svg", tooltip: { theme: scheme.matches ? "dark" : "light" } };
  const { view } = await vegaEmbed(place, JSON.parse(held), options);
  const tell = () => { told.textContent = [...place.querySelectorAll(".told_marks text")].map((text) => text.textContent).join(" "); };
  const changed = () => view.runAsync().then(tell);
  for (const kind of ["input", "change", "click"]) place.addEventListener(kind, changed);
  figure.querySelector(":scope > :is(img, .drawn)").replaceWith(place);
  place.append(told);
  tell();
  stops();
};
const near = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) continue;
    near.unobserve(target);
    draw(target);
  }
}, { rootMargin: "600px" });
const charts = document.querySelectorAll("figure.chart");
for (const figure of charts) near.observe(figure);
scheme.addEventListener("change", () => {
  for (const figure of charts) if (figure.querySelector(":scope > .drawn")) draw(figure);
});
