// The viewer: what a page holds of a volume brought to life. planes.js stands before it in the same function.
const figure = document.currentScript.closest("figure");
const LEFT = 46, RIGHT = 10, TOP = 8, BELOW = 38, GAP = 14, PANEL = 200;
const LEAST = 76; // pixels of a plane, however thin: its names and its slider need them
const RULERS = [say("lateral (mm)"), say("depth (mm)"), say("elevation (mm)")];
// In English the legend above the two says of what; a level alone is one of the spine.
const [LEVEL, WIDTH] = [say("window level"), say("window width")].map((name) => name.replace(/^window /, ""));
const [told, ...packed] = [...figure.querySelectorAll("script[type^='application/']")].map((e) => e.textContent);
const scene = JSON.parse(told);
const { shape, spacing, extent } = scene;
const PLACE = (scene.name && `, ${scene.name}`).replace(/^, (.+) left$/, say(", $1 left")).replace(/^, (.+) right$/, say(", $1 right"));
const first = { at: scene.start, level: 128, width: 256, opacity: scene.opacity };
const state = { ...first, at: [...first.at] };
const shown = { crosshair: true, roi: true, points: true, saliency: true };
const refresh = [];
let voxels, salient, waiting = false;

const middle = (axis) => (state.at[axis] + 0.5) * spacing[axis];
const mm = (value) => value.toFixed(1);

function make(parent, tag, text = "", attributes = {}) {
  const element = parent.appendChild(document.createElement(tag));
  element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// All planes on one scale: what is twice as long on the screen is twice as long in the patient.
function scaleFor(room) {
  const margins = LEFT + RIGHT, [wide, high, thick] = extent;
  if (room < 520) return Math.min((room - margins) / Math.max(wide, thick), 460 / Math.max(high, thick));
  const left = room - 2 * margins - GAP - (room < 760 ? 0 : PANEL + GAP);
  const both = left / (wide + thick);
  const beside = Math.min(wide, thick) * both < LEAST ? (left - LEAST) / Math.max(wide, thick) : both;
  return Math.min(beside, 560 / (high + thick));
}

// DICOM PS3.3 C.11.2.1.2.1, linear
function windowed() {
  const low = state.level - 0.5 - (state.width - 1) / 2;
  return greys(low, low + state.width - 1);
}

function colours() {
  const rgb = scene.saliency.colours;
  return Uint32Array.from({ length: 256 }, (_, value) => {
    const [red, green, blue] = rgb.slice(3 * value, 3 * value + 3);
    return Math.round(state.opacity * value) * 0x1000000 + blue * 0x10000 + green * 0x100 + red;
  });
}

function drawScale(pen, [, right, down], wide, high, scale) {
  pen.font = "11px system-ui, sans-serif";
  pen.fillStyle = "#aeb7c0";
  pen.textBaseline = "middle";
  const every = [1, 2, 5, 10, 20, 50, 100].find((step) => step * scale >= 34) ?? 200;
  pen.textAlign = "center";
  for (let at = 0; at <= extent[right]; at += every) {
    pen.fillRect(LEFT + at * scale - 0.5, TOP + high, 1, 4);
    pen.fillText(at, LEFT + at * scale, TOP + high + 12);
  }
  pen.fillText(RULERS[right], LEFT + Math.max(wide, LEAST) / 2, TOP + high + 28);
  pen.textAlign = "right";
  for (let at = 0; at <= extent[down]; at += every) {
    pen.fillRect(LEFT - 4, TOP + at * scale - 0.5, 4, 1);
    pen.fillText(at, LEFT - 7, TOP + at * scale);
  }
  pen.textAlign = "center";
  pen.save();
  pen.translate(11, TOP + Math.max(high, LEAST) / 2);
  pen.rotate(-Math.PI / 2);
  pen.fillText(RULERS[down], 0, 0);
  pen.restore();
}

function drawOverlay(pen, frame) {
  const through = frame.plane[3], here = middle(through);
  if (shown.crosshair) drawCrosshair(pen, frame, middleOf(state.at, spacing));
  if (scene.roi && shown.roi && scene.roi[0][through] <= here && here <= scene.roi[1][through]) {
    const [x, y] = spot(frame, scene.roi[0]);
    drawRegion(pen, frame, ...scene.roi);
    named(pen, say("ROI"), x + 16, y + 12, COLOURS.roi);
  }
  for (const { name, at } of shown.points ? scene.points : []) {
    const away = Math.abs(at[through] - here), filled = away <= spacing[through] / 2;
    if (away <= Math.max(scene.near, spacing[through] / 2)) drawPoint(pen, frame, name, at, { filled, whole: extent });
  }
}

function drawPlane({ plane, box, canvas }, scale, look, tint) {
  const [, right, down, through] = plane, frame = { plane, left: LEFT, top: TOP, scale };
  const [wide, high] = [extent[right] * scale, extent[down] * scale];
  const dense = window.devicePixelRatio || 1;
  const [cssWide, cssHigh] = [LEFT + Math.max(wide, LEAST) + RIGHT, TOP + Math.max(high, LEAST) + BELOW];
  [canvas.width, canvas.height] = [Math.round(cssWide * dense), Math.round(cssHigh * dense)];
  canvas.dataset.scale = scale;
  box.style.width = `${cssWide}px`;
  canvas.style.aspectRatio = `${cssWide} / ${cssHigh}`;
  const pen = canvas.getContext("2d");
  pen.setTransform(dense, 0, 0, dense, 0, 0);
  pen.fillStyle = "#0d1116";
  pen.fillRect(0, 0, cssWide, cssHigh);
  drawScale(pen, plane, wide, high, scale);
  pen.beginPath();
  pen.rect(LEFT, TOP, wide, high);
  pen.clip();
  drawSlab(pen, frame, { data: voxels, shape, spacing }, state.at[through], look);
  const map = scene.saliency;
  const index = map && Math.floor((middle(through) - map.origin[through]) / map.spacing[through]);
  if (map && shown.saliency && index >= 0 && index < map.shape[through]) {
    drawSlab(pen, frame, { data: salient, ...map }, index, tint);
  }
  drawOverlay(pen, frame);
}

function draw() {
  waiting = false;
  const room = figure.clientWidth;
  if (!room) return;
  stage.dataset.layout = room < 520 ? "narrow" : room < 760 ? "middle" : "wide";
  const scale = Math.max(scaleFor(room), 0.1), look = windowed(), tint = salient && colours();
  for (const panel of panels) drawPlane(panel, scale, look, tint);
  for (const update of refresh) update();
}

function change(values) {
  Object.assign(state, values);
  if (!waiting) requestAnimationFrame(draw);
  waiting = true;
}

function moveTo(axis, index) {
  const at = [...state.at];
  at[axis] = clamp(index, 0, shape[axis] - 1);
  change({ at });
}

function slider(parent, name, [low, high, step], read, write, tell) {
  const label = make(parent, "label", "", { class: "mflib-view-slider" });
  make(label, "span", name);
  const value = make(label, "span", "", { class: "mflib-view-value" });
  const input = make(label, "input", "", { type: "range", min: low, max: high, step, "aria-label": name });
  input.addEventListener("input", () => write(Number(input.value)));
  refresh.push(() => {
    input.value = read();
    value.textContent = tell();
    input.setAttribute("aria-valuetext", tell());
  });
}

function follow(canvas, [, right, down, through]) {
  let from = null;
  const seek = (event) => {
    const box = canvas.getBoundingClientRect();
    const scale = Number(canvas.dataset.scale);
    const at = [...state.at];
    at[right] = Math.floor((event.clientX - box.left - LEFT) / scale / spacing[right]);
    at[down] = Math.floor((event.clientY - box.top - TOP) / scale / spacing[down]);
    change({ at: at.map((index, axis) => clamp(index, 0, shape[axis] - 1)) });
  };
  const stretch = (event) => change({
    width: clamp(Math.round(from.width + event.clientX - from.x), 2, 256),
    level: clamp(Math.round(from.level + event.clientY - from.y), 0, 255),
  });
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    from = { x: event.clientX, y: event.clientY, width: state.width, level: state.level, window: event.shiftKey };
    canvas.setPointerCapture(event.pointerId);
    // A finger that wants to scroll the page must not move the planes.
    if (event.pointerType !== "touch" && !from.window) seek(event);
  });
  canvas.addEventListener("pointermove", (event) => from && (from.window ? stretch(event) : seek(event)));
  canvas.addEventListener("pointerup", (event) => { if (from && !from.window) seek(event); from = null; });
  canvas.addEventListener("pointercancel", () => { from = null; });
  const keys = {
    ArrowLeft: [right, -1], ArrowRight: [right, 1], ArrowUp: [down, -1], ArrowDown: [down, 1],
    PageUp: [through, -1], PageDown: [through, 1],
  };
  canvas.addEventListener("keydown", (event) => {
    const [axis, step] = keys[event.key] ?? [];
    if (axis === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    moveTo(axis, state.at[axis] + step * (event.shiftKey ? 10 : 1));
  });
}

function buildPlane(plane) {
  const [name, right, down, through] = plane;
  const box = make(stage, "div", "", { class: `mflib-view-plane mflib-view-${name}` });
  const [x, y, z] = [right, down, through].map((axis) => NAMES[AXES[axis]]);
  const canvas = make(box, "canvas", "", {
    tabindex: 0, role: "application", "aria-roledescription": say("image plane"),
    "aria-label": say(`${NAMES[name]} plane${PLACE}: ${x} to the right, ${y} down. Arrow keys move the crosshair, Page Up and Page Down change ${z}.`),
  });
  slider(box, NAMES[name], [0, shape[through] - 1, 1], () => state.at[through],
    (index) => moveTo(through, index), () => `${z} ${mm(middle(through))} mm`);
  follow(canvas, plane);
  return { plane, box, canvas };
}

function reading() {
  const [i, j, k] = state.at, voxel = voxels[i + shape[0] * (j + shape[1] * k)];
  const own = state.at.map((index, axis) => index * scene.factors[axis]);
  const [x, y, z] = [0, 1, 2].map((axis) => mm(middle(axis)));
  const lines = [say(`grey ${voxel}`), say(`lateral ${x}, depth ${y}, elevation ${z} mm`), say(`voxel ${own.join(", ")}`)];
  const map = scene.saliency;
  if (map) {
    const [a, b, c] = map.origin.map((from, axis) => Math.floor((middle(axis) - from) / map.spacing[axis]));
    const inside = [a, b, c].every((index, axis) => index >= 0 && index < map.shape[axis]);
    const value = inside && salient[a + map.shape[0] * (b + map.shape[1] * c)];
    lines.push(inside ? say(`saliency ${Math.round(value / 2.55)} % of its maximum`) : say("no saliency here"));
  }
  return lines;
}

function toggle(parent, key, ...signs) {
  const label = make(parent, "label", "", { class: "mflib-view-toggle" });
  const input = make(label, "input", "", { type: "checkbox" });
  for (const [text, sign, colour] of signs) {
    if (sign) make(label, "span", sign, { class: "mflib-view-sign", style: `color:${colour}`, "aria-hidden": "true" });
    make(label, "span", text);
  }
  input.addEventListener("change", () => { shown[key] = input.checked; change({}); });
  refresh.push(() => { input.checked = shown[key]; });
}

function buildPanel() {
  const panel = make(stage, "div", "", { class: "mflib-view-panel" });
  const output = make(panel, "output");
  const [grey, ...others] = reading().map(() => make(output, "span"));
  grey.className = "mflib-view-grey";
  refresh.push(() => reading().forEach((text, n) => { [grey, ...others][n].textContent = text; }));
  const show = make(panel, "fieldset");
  make(show, "legend", say("Show"));
  toggle(show, "crosshair", [say("crosshair"), "\u253c", "#fff"]);
  if (scene.roi) toggle(show, "roi", [say("region of interest"), "\u25ad", COLOURS.roi]);
  const [bone] = scene.points;
  if (bone) toggle(show, "points", [NAMES.bone, "\u25cf", COLOURS.bone], [NAMES.shadow, "\u25c6", COLOURS.shadow]);
  if (scene.saliency) buildSaliency(show);
  const contrast = make(panel, "fieldset");
  make(contrast, "legend", say("Window"));
  slider(contrast, LEVEL, [0, 255, 1], () => state.level, (level) => change({ level }), () => `${state.level}`);
  slider(contrast, WIDTH, [2, 256, 1], () => state.width, (width) => change({ width }), () => `${state.width}`);
  const buttons = make(panel, "div", "", { class: "mflib-view-buttons" });
  const button = (text, act) => make(buttons, "button", text, { type: "button" }).addEventListener("click", act);
  const nearest = ({ at }) => at.map((value, axis) => Math.floor(value / spacing[axis]));
  for (const point of scene.points) button(say(`Go to ${NAMES[point.name]}`), () => change({ at: nearest(point) }));
  button(say("Reset"), () => {
    for (const key of Object.keys(shown)) shown[key] = true;
    change({ ...first, at: [...first.at] });
  });
  make(panel, "p", bone
    ? say(`Click or drag in a plane to move; Shift and drag to change the window. A point is outlined in planes up to ${scene.near} mm away from it.`)
    : say("Click or drag in a plane to move; Shift and drag to change the window."));
}

function buildSaliency(parent) {
  toggle(parent, "saliency", [say("saliency")]);
  const rgb = scene.saliency.colours;
  const stops = [0, 64, 128, 192, 255].map((value) => `rgb(${rgb.slice(3 * value, 3 * value + 3)})`);
  const bar = make(parent, "div", "", { class: "mflib-view-bar" });
  make(bar, "span", "0");
  make(bar, "span", "", { class: "mflib-view-ramp", style: `background:linear-gradient(90deg,${stops})` });
  make(bar, "span", scene.saliency.highest);
  slider(parent, say("opacity"), [0, 1, 0.05], () => state.opacity, (opacity) => change({ opacity }),
    () => `${Math.round(100 * state.opacity)} %`);
}

// A page that was saved while it ran holds what an earlier script built.
figure.querySelector(".mflib-view-stage")?.remove();
const stage = document.createElement("div");
stage.className = "mflib-view-stage";
// JupyterLab would take arrows, Enter and letters for commands to its cells.
stage.addEventListener("keydown", (event) => {
  if (!event.altKey && !event.ctrlKey && !event.metaKey) event.stopPropagation();
});
let panels = [];

async function start() {
  [voxels, salient] = await Promise.all(packed.map(unpack));
  figure.insertBefore(stage, figure.querySelector("figcaption"));
  panels = PLANES.map(buildPlane);
  buildPanel();
  figure.classList.add("mflib-view-running");
  new ResizeObserver(() => change({})).observe(figure);
  draw();
}

start().catch((error) => make(figure, "p", say(`The volume cannot be clicked through in this browser (${error.message}).`)));
