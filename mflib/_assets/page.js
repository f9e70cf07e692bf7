"use strict";
const say = (text, fields = {}) =>
  (WORDS[document.documentElement.lang]?.[text] ?? text).replace(/\{(\w+)\}/g, (_, name) => fields[name]);
// Whatever the page makes for its content is made when that content comes in, once for each language.
const begun = [];
let nav, places, current;

const code = (open) => {
  const toggle = document.getElementById("toggle-code");
  toggle.setAttribute("aria-pressed", String(open));
  toggle.textContent = open ? say("Hide code") : say("Show code");
  document.body.classList.toggle("with-code", open);
  for (const code of document.querySelectorAll("details.code")) code.open = open;
};
begun.push(() => {
  document.getElementById("toggle-code").addEventListener("click", ({ target }) => code(target.getAttribute("aria-pressed") !== "true"));
  // On a phone the contents stand above the text: folded, so that the report comes first.
  if (matchMedia("(max-width: 60rem)").matches) document.querySelector("nav details").open = false;
});

// The contents follow the reader, up and down: the last heading above the upper third is where one reads.
const found = () => {
  nav = document.querySelector("nav");
  places = [...nav.querySelectorAll("a")]
    .map((link) => ({ link, target: document.getElementById(link.hash.slice(1)) }))
    .filter(({ target }) => target);
  nav.classList.add("follows"); // without a script all entries stay open
  follow();
};
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

// Appendices and asides are folded: whoever jumps into one finds it open, and a heading that is hidden at its fold.
const unfold = () => {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const folds = ["details.aside", "details.appendix"].map((kind) => target?.closest(kind)).filter(Boolean);
  if (!folds.length) return;
  for (const fold of folds) fold.open = true;
  (target.getClientRects().length ? target : folds[0]).scrollIntoView();
};
addEventListener("hashchange", unfold);

// What can be wider than the page is a stop of the keyboard only where it scrolls.
const stops = () => {
  for (const wide of document.querySelectorAll("div.table, figure")) {
    if (wide.scrollWidth > wide.clientWidth) wide.setAttribute("tabindex", "0");
    else wide.removeAttribute("tabindex");
  }
};
addEventListener("resize", stops);
document.addEventListener("toggle", stops, true);

// What a reader takes away: a table as text for a sheet or as CSV, a figure at its full size or as a file.
const button = (text, act) => {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
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
begun.push(() => {
  for (const frame of document.querySelectorAll("main div.table")) {
    const table = frame.querySelector("table");
    const bar = document.createElement("span");
    bar.className = "take";
    bar.append(
      button(say("Copy"), async (made) => {
        const text = rowsOf(table).map((row) => row.join("\t")).join("\n");
        let told = say("Copied");
        try { await navigator.clipboard.writeText(text); } catch { told = say("Not allowed here"); }
        made.textContent = told;
        setTimeout(() => { made.textContent = say("Copy"); }, 2000);
      }),
      button("CSV", () => {
        const text = rowsOf(table).map((row) => row.map(quoted).join(",")).join("\r\n");
        save(`${table.id.replace(/^table-/, "") || "table"}.csv`, `\ufeff${text}\r\n`, "text/csv");
      }),
    );
    // A long table begins folded to its head; the paper's own tables stand whole.
    const rows = table.tBodies[0] ? table.tBodies[0].rows.length : 0;
    if (rows > 12 && !table.id.startsWith("table-table")) {
      table.classList.add("head");
      bar.append(button(say("All {rows} rows", { rows }), (made) => {
        made.textContent = table.classList.toggle("head") ? say("All {rows} rows", { rows }) : say("Fewer rows");
      }));
    }
    table.caption.append(bar);
  }
});
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
begun.push(() => {
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
    bar.append(button(say("Enlarge"), enlarge), link);
    if (drawing) bar.append(button("PNG", () => asPicture(picture, name)));
    figure.querySelector("figcaption").append(bar);
  }
});

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
begun.push(() => { for (const figure of document.querySelectorAll("figure.chart")) near.observe(figure); });
scheme.addEventListener("change", () => {
  for (const figure of document.querySelectorAll("figure.chart")) if (figure.querySelector(":scope > .drawn")) draw(figure);
});

// The page holds its content once for each language, and shows one. A place has the same name in all of them, so whoever
// changes the language stays at the heading that was in sight, at the same height.
const pages = new Map([[document.documentElement.lang, null]]);
for (const held of document.querySelectorAll("template[lang]")) pages.set(held.lang, held.content);
const named = "main :is(section, details, h2, h3, h4, figure, table)[id]";
const change = (lang) => {
  const shown = document.getElementById("page"), open = document.body.classList.contains("with-code");
  const sight = [...shown.querySelectorAll(named)].filter((place) => place.getClientRects().length);
  const at = sight.findLast((place) => place.getBoundingClientRect().top < innerHeight / 3) ?? sight[0];
  const height = at.getBoundingClientRect().top;
  const unfolded = [...shown.querySelectorAll("details[open][id]")].map(({ id }) => id);
  const left = document.createDocumentFragment();
  left.append(...shown.childNodes);
  pages.set(document.documentElement.lang, left);
  shown.append(pages.get(lang));
  document.documentElement.lang = lang;
  document.title = document.querySelector("h1").textContent;
  if (!shown.dataset[lang]) for (const begin of begun) begin();
  shown.dataset[lang] = "begun";
  code(open);
  for (const id of unfolded) document.getElementById(id)?.setAttribute("open", "");
  switches();
  found();
  stops();
  const same = document.getElementById(at.id);
  for (let fold = same.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
  scrollBy({ top: same.getBoundingClientRect().top - height, behavior: "instant" });
};
const LANGUAGES = { en: "English", "zh-Hans": "中文" };
const switches = () => {
  const controls = document.querySelector(".controls");
  controls.querySelector("[lang]")?.remove();
  for (const lang of pages.keys()) {
    if (lang === document.documentElement.lang) continue;
    const made = button(LANGUAGES[lang], () => { change(lang); document.querySelector(".controls [lang]").focus({ preventScroll: true }); });
    made.lang = lang;
    controls.append(" ", made);
  }
};
document.getElementById("page").dataset[document.documentElement.lang] = "begun";
for (const begin of begun) begin();
switches();
found();
unfold();
stops();
