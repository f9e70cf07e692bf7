// The page of the annotation tool: shows what Python sends and reports clicks, drags and keys. All state lives in Python.
const PANEL = 300; // pixels beside the planes
const NEAR_MM = 1.5, HEIGHT = 580;

const box = (view) => view.roi || view.state.roi;
const inMm = (view, index) => index.map((at, axis) => at * view.state.spacing[axis]);
const frameOf = (view, n) => ({ plane: PLANES[n], left: 0, top: 0, scale: view.scale });

// First and last corner of a region in mm.
const corners = (view, [start, size]) => [inMm(view, start), inMm(view, start.map((at, axis) => at + size[axis]))];

function layout(view, canvases, width) {
  if (!view.state.shape) return;
  const whole = inMm(view, view.state.shape), [x, y, z] = whole;
  view.scale = Math.min(width / (x + z), HEIGHT / (y + z));
  const ratio = window.devicePixelRatio || 1;
  canvases.forEach((canvas, n) => {
    const [w, h] = spot(frameOf(view, n), whole);
    canvas.style.width = `${w}px`;
    canvas.style.height = `${h}px`;
    [canvas.width, canvas.height] = [Math.round(w * ratio), Math.round(h * ratio)];
  });
}

// `view` has the state that Python sent, its voxels, the planes' place (cut), the mode, a region in hand (roi) and the
// window (low, high).
function draw(view, canvases) {
  const { shape, spacing } = view.state, ratio = window.devicePixelRatio || 1;
  const whole = shape && view.voxels.length === shape[0] * shape[1] * shape[2];
  const look = greys(view.low, view.high);
  canvases.forEach((canvas, n) => {
    const pen = canvas.getContext("2d"), frame = frameOf(view, n);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, canvas.width, canvas.height);
    if (!whole) return;
    drawSlab(pen, frame, { data: view.voxels, shape, spacing }, view.cut[PLANES[n][3]], look);
    drawCrosshair(pen, frame, middleOf(view.cut, spacing));
    if (box(view)) drawBox(view, pen, frame);
    for (const name of ["bone", "shadow"]) if (view.state[name]) drawMark(view, pen, frame, name);
    pen.globalAlpha = 1;
  });
}

// The region, faint in planes that do not meet it; with its corners where a hand may take hold of it.
function drawBox(view, pen, frame) {
  const through = frame.plane[3], [start, size] = box(view), [first, last] = corners(view, box(view));
  const inside = view.cut[through] >= start[through] && view.cut[through] < start[through] + size[through];
  pen.globalAlpha = inside ? 1 : 0.4;
  drawRegion(pen, frame, first, last, view.state.suggested.includes("roi") && !view.roi);
  pen.fillStyle = COLOURS.roi;
  const [[x0, y0], [x1, y1]] = [spot(frame, first), spot(frame, last)];
  if (view.mode === "roi") for (const x of [x0, x1]) for (const y of [y0, y1]) pen.fillRect(x - 4, y - 4, 8, 8);
}

// A point, faint and without its name in planes that are not near it.
function drawMark(view, pen, frame, name) {
  const { spacing, shape, suggested } = view.state, place = view.state[name], through = frame.plane[3];
  const away = Math.abs(place[through] - view.cut[through]), near = away * spacing[through] <= NEAR_MM;
  const dashed = suggested.includes(name), label = near && (dashed ? `${NAMES[name]}?` : NAMES[name]);
  pen.globalAlpha = near ? 1 : 0.4;
  drawPoint(pen, frame, name, middleOf(place, spacing), { label, dashed, whole: inMm(view, shape) });
}

const LOW = `<input type="range" min="0" max="254" value="0" data-at="low" aria-label="${say("grey level shown black")}">`;
const HIGH = `<input type="range" min="1" max="255" value="255" data-at="high" aria-label="${say("grey level shown white")}">`;
const PAGE = `
<div class="planes">
  <div class="plane"><canvas data-plane="transverse"></canvas><span>${NAMES.transverse}</span></div>
  <div class="plane"><canvas data-plane="sagittal"></canvas><span>${NAMES.sagittal}</span></div>
  <div class="plane"><canvas data-plane="coronal"></canvas><span>${NAMES.coronal}</span></div>
</div>
<div class="panel">
  <div class="row"><h3 data-at="name"></h3><span data-at="place"></span></div>
  <div><progress data-at="bar"></progress><div data-at="progress"></div></div>
  <div class="status" data-at="status"></div>
  <div class="message" data-at="message" role="status"></div>
  <div class="row" role="group" aria-label="${say("what a click sets")}">
    <button data-mode="bone">${NAMES.bone}</button><button data-mode="shadow">${NAMES.shadow}</button>
    <button data-mode="roi">${say("ROI")}</button><button data-mode="look">${say("look")}</button>
  </div>
  <div class="row"><button class="main" data-do="confirm">${say("confirm and next")}</button>
    <button data-do="undo">${say("undo")}</button><button data-do="redo">${say("redo")}</button>
    <button data-do="x" data-at="exclusion"></button></div>
  <div class="reasons" data-at="reasons" hidden></div>
  <div class="row"><button data-do="previous">${say("previous")}</button><button data-do="next">${say("next")}</button>
    <button data-do="open">${say("next unconfirmed")}</button><select data-at="jump" aria-label="${say("go to a volume")}"></select></div>
  <div data-at="readout"></div><div class="flags" data-at="flags" role="alert"></div>
  <div class="row">${say("ROI size")}
    <input type="number" min="2" data-size="0" aria-label="${say("ROI voxels, lateral")}">
    <input type="number" min="2" data-size="1" aria-label="${say("ROI voxels, depth")}">
    <input type="number" min="2" data-size="2" aria-label="${say("ROI voxels, elevation")}"></div>
  <div class="row">${say(`grey from ${LOW} to ${HIGH}`)}</div>
  <div class="keys"><kbd>b</kbd> ${NAMES.bone} <kbd>s</kbd> ${NAMES.shadow} <kbd>r</kbd> ${say("ROI")} <kbd>l</kbd> ${say("look")}
    <kbd>Enter</kbd> ${say("confirm and next")} <kbd>n</kbd> ${say("next")} <kbd>p</kbd> ${say("previous")}
    <kbd>u</kbd> ${say("next unconfirmed")} <kbd>z</kbd> ${say("undo")} <kbd>y</kbd> ${say("redo")}
    <kbd>x</kbd> ${say("exclude or include")} <kbd>&larr;</kbd><kbd>&rarr;</kbd><kbd>&uarr;</kbd><kbd>&darr;</kbd><kbd>PgUp</kbd><kbd>PgDn</kbd>
    ${say("or wheel: move the planes, <kbd>Shift</kbd> faster")}</div>
</div>`;

let scrolled = false; // once for each tool that is made: later the notebook stays where somebody scrolled it to

function render({ model, el }) {
  const root = document.createElement("div");
  root.className = "mflib-annotate";
  root.tabIndex = 0;
  root.setAttribute("data-lm-suppress-shortcuts", "true"); // else x would cut the notebook's cell
  root.innerHTML = PAGE;
  el.append(root);
  const at = (name) => root.querySelector(`[data-at="${name}"]`);
  const canvases = [...root.querySelectorAll("canvas")];
  const view = { state: model.get("state"), voxels: new Uint8Array(0), cut: [0, 0, 0], mode: "bone", roi: null, low: 0, high: 255, scale: 1 };
  let shown = -1;

  // With the volume that is shown: an Enter pressed twice must not confirm the next one, which nobody has seen.
  const send = (action, what = {}) => model.send({ do: action, shown: view.state.position, ...what });
  const show = () => {
    root.dataset.cut = view.cut.join(" "); // what a test waits for, as the position and the mode
    draw(view, canvases);
  };
  const spread = () => layout(view, canvases, Math.max(380, root.clientWidth - PANEL - 40));

  function texts() {
    const { state } = view, roi = box(view), { total, annotator } = state, number = state.position + 1;
    const left = state.states.some((one) => one === "open" || one === "begun" || one === "changed");
    at("name").textContent = state.name;
    at("place").textContent = state.second
      ? say(`${number} of ${total}, ${annotator}, second pass`) : say(`${number} of ${total}, ${annotator}`);
    at("bar").max = total;
    at("bar").value = state.states.filter((one) => one !== "open" && one !== "begun").length;
    at("progress").textContent = state.progress;
    at("status").textContent = state.status;
    const here = state.states[state.position];
    at("status").className = `status ${state.suggested.length ? "suggestion" : here}`;
    at("readout").replaceChildren(...state.readout.lines.map(text));
    at("flags").replaceChildren(...state.readout.flags.map(text));
    at("message").textContent = state.message;
    at("message").classList.toggle("wrong", state.wrong);
    at("exclusion").textContent = state.excluded ? say("include") : say("exclude");
    for (const button of root.querySelectorAll("[data-mode]")) button.classList.toggle("on", button.dataset.mode === view.mode);
    root.querySelector('[data-do="undo"]').disabled = !state.can_undo;
    root.querySelector('[data-do="redo"]').disabled = !state.can_redo;
    root.querySelector('[data-do="open"]').disabled = !left;
    for (const input of root.querySelectorAll("[data-size]")) {
      input.disabled = !roi;
      input.value = roi ? roi[1][Number(input.dataset.size)] : "";
    }
    const signs = { open: "", begun: "\u2026 ", changed: "\u2026 ", confirmed: "\u2713 ", excluded: "\u2715 " };
    at("jump").replaceChildren(...state.names.map((name, n) => new Option(signs[state.states[n]] + name, n, false, n === state.position)));
    root.dataset.position = state.position;
    root.dataset.mode = view.mode;
  }

  const text = (words) => Object.assign(document.createElement("div"), { textContent: words });

  function update() {
    const state = view.state = model.get("state"), raw = model.get("voxels");
    view.roi = null;
    view.voxels = new Uint8Array(raw.buffer, raw.byteOffset, raw.byteLength);
    if (state.position !== shown) {
      shown = state.position;
      view.mode = "bone";
      if (state.shape) view.cut = state.bone ? [...state.bone] : state.shape.map((n) => Math.floor(n / 2));
      showReasons(false);
      spread();
    }
    texts();
    show();
  }

  function setMode(mode) {
    view.mode = mode;
    texts();
    show();
  }

  function showReasons(show) {
    const box = at("reasons");
    box.hidden = !show;
    if (!show) return;
    const choose = (reason) => { showReasons(false); root.focus(); send("exclude", { reason }); };
    const buttons = view.state.reasons.map((reason, n) => {
      const button = Object.assign(document.createElement("button"), { textContent: `${n + 1}  ${view.state.told[n]}` });
      button.onclick = () => choose(reason);
      return button;
    });
    const other = Object.assign(document.createElement("input"), { type: "text", placeholder: say("other, then Enter"), maxLength: 200 });
    other.onkeydown = (event) => { if (event.key === "Enter" && other.value.trim()) choose(other.value); };
    box.replaceChildren(text(say("Why can it not be used? A number, or your own words. Esc: not at all.")), ...buttons, other);
    box.reasons = view.state.reasons.map((reason) => () => choose(reason));
  }

  function seek(axis, by) {
    if (!view.state.shape) return;
    view.cut[axis] = clamp(view.cut[axis] + by, 0, view.state.shape[axis] - 1);
    show();
  }

  const actions = {
    confirm: () => send("confirm"), undo: () => send("undo"), redo: () => send("redo"), open: () => send("open"),
    next: () => send("step", { by: 1 }), previous: () => send("step", { by: -1 }),
    x: () => (view.state.excluded ? send("include") : showReasons(at("reasons").hidden)),
  };
  const keys = {
    Enter: actions.confirm, z: actions.undo, y: actions.redo, u: actions.open, n: actions.next, p: actions.previous, x: actions.x,
    b: () => setMode("bone"), s: () => setMode("shadow"), r: () => setMode("roi"), l: () => setMode("look"),
    Escape: () => showReasons(false),
  };
  const arrows = {
    ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [1, -1], ArrowDown: [1, 1], PageUp: [2, -1], PageDown: [2, 1],
  };

  root.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Escape") root.focus();
    else if (/^(INPUT|SELECT)$/.test(event.target.tagName)) return;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.tagName === "BUTTON" && (event.key === "Enter" || event.key === " ")) return;
    const reason = !at("reasons").hidden && at("reasons").reasons[Number(event.key) - 1];
    const action = reason || keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (action && !event.repeat) action();
    else if (arrows[event.key]) seek(arrows[event.key][0], arrows[event.key][1] * (event.shiftKey ? 5 : 1));
    else if (!action) return;
    event.preventDefault();
  });

  root.addEventListener("mousedown", (event) => {
    // A button that took the focus would take Enter too.
    if (event.target.tagName === "BUTTON") event.preventDefault();
    if (!/^(INPUT|SELECT|OPTION)$/.test(event.target.tagName)) root.focus({ preventScroll: true });
  });
  root.addEventListener("click", (event) => {
    if (event.target.dataset.mode) setMode(event.target.dataset.mode);
    if (event.target.dataset.do) actions[event.target.dataset.do]();
  });
  for (const name of ["low", "high"]) {
    at(name).addEventListener("input", () => {
      view.low = Number(at("low").value);
      view.high = Math.max(Number(at("high").value), view.low + 1);
      show();
    });
  }
  at("jump").addEventListener("change", () => { send("go", { to: Number(at("jump").value) }); root.focus({ preventScroll: true }); });
  for (const input of root.querySelectorAll("[data-size]")) {
    input.addEventListener("change", () => {
      const [start, size] = [view.state.roi[0], [...view.state.roi[1]]];
      size[Number(input.dataset.size)] = Number(input.value) || 2;
      send("roi", { start, size });
    });
  }

  const hands = {
    moved: show,
    seek,
    region: ([start, size]) => send("roi", { start, size }),
    point: (name) => {
      // The shadow comes next, until somebody has marked it.
      if (name === "bone" && (!view.state.shadow || view.state.suggested.includes("shadow"))) view.mode = "shadow";
      send("point", { name, at: view.cut });
    },
  };
  canvases.forEach((canvas, n) => follow(view, canvas, n, hands));

  const watch = new ResizeObserver(() => {
    spread();
    show();
    if (scrolled || !root.clientWidth) return;
    scrolled = true;
    root.scrollIntoView({ block: "start" });
    root.focus({ preventScroll: true }); // else the first keys would be the notebook's, where b adds a cell
  });
  watch.observe(root);
  model.on("change:state", update);
  update();
  return () => { watch.disconnect(); model.off("change:state", update); };
}

export default { render };
