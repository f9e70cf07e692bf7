// The page of the annotation tool: draws three planes and reports clicks, drags and keys. All state lives in Python.
const PLANES = [["transverse", 0, 1, 2], ["sagittal", 2, 1, 0], ["coronal", 0, 2, 1]];
const AXES = ["lateral", "depth", "elevation"];
const COLOURS = { bone: "#E69F00", shadow: "#56B4E9", roi: "#2fd39b", cut: "#ffffff" }; // Okabe and Ito, lightened on black
const GRIP = 8, NEAR_MM = 1.5, HEIGHT = 580, PANEL = 300;

const PAGE = `
<div class="planes">
  <div class="plane"><canvas data-plane="transverse"></canvas><span>transverse</span></div>
  <div class="plane"><canvas data-plane="sagittal"></canvas><span>sagittal</span></div>
  <div class="plane"><canvas data-plane="coronal"></canvas><span>coronal</span></div>
</div>
<div class="panel">
  <div class="row"><h3 data-at="name"></h3><span data-at="place"></span></div>
  <div><progress data-at="bar"></progress><div data-at="progress"></div></div>
  <div class="status" data-at="status"></div>
  <div class="message" data-at="message" role="status"></div>
  <div class="row" role="group" aria-label="what a click sets">
    <button data-mode="bone">bone</button><button data-mode="shadow">shadow</button>
    <button data-mode="roi">ROI</button><button data-mode="look">look</button>
  </div>
  <div class="row"><button class="main" data-do="confirm">confirm and next</button>
    <button data-do="undo">undo</button><button data-do="redo">redo</button>
    <button data-do="x" data-at="exclusion"></button></div>
  <div class="reasons" data-at="reasons" hidden></div>
  <div class="row"><button data-do="previous">previous</button><button data-do="next">next</button>
    <button data-do="open">next unconfirmed</button><select data-at="jump" aria-label="go to a volume"></select></div>
  <div data-at="readout"></div><div class="flags" data-at="flags" role="alert"></div>
  <div class="row">ROI size
    <input type="number" min="2" data-size="0" aria-label="ROI voxels, lateral">
    <input type="number" min="2" data-size="1" aria-label="ROI voxels, depth">
    <input type="number" min="2" data-size="2" aria-label="ROI voxels, elevation"></div>
  <div class="row">grey from <input type="range" min="0" max="254" value="0" data-at="low" aria-label="grey level shown black">
    to <input type="range" min="1" max="255" value="255" data-at="high" aria-label="grey level shown white"></div>
  <div class="keys"><kbd>b</kbd> bone <kbd>s</kbd> shadow <kbd>r</kbd> ROI <kbd>l</kbd> look <kbd>Enter</kbd> confirm and next
    <kbd>n</kbd> next <kbd>p</kbd> previous <kbd>u</kbd> next unconfirmed <kbd>z</kbd> undo <kbd>y</kbd> redo
    <kbd>x</kbd> exclude or include <kbd>&larr;</kbd><kbd>&rarr;</kbd><kbd>&uarr;</kbd><kbd>&darr;</kbd><kbd>PgUp</kbd><kbd>PgDn</kbd>
    or wheel: move the planes, <kbd>Shift</kbd> faster</div>
</div>`;

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

function render({ model, el }) {
  const root = document.createElement("div");
  root.className = "mflib-annotate";
  root.tabIndex = 0;
  root.setAttribute("data-lm-suppress-shortcuts", "true"); // else x would cut the notebook's cell
  root.innerHTML = PAGE;
  el.append(root);
  const at = (name) => root.querySelector(`[data-at="${name}"]`);
  const canvases = [...root.querySelectorAll("canvas")];
  const off = document.createElement("canvas");
  const local = { cut: [0, 0, 0], mode: "bone", shown: -1, drag: null, roi: null, scale: 1, wheel: 0 };
  let state = model.get("state");
  let voxels = new Uint8Array(0);

  // With the volume that is shown: an Enter pressed twice must not confirm the next one, which nobody has seen.
  const send = (action, what = {}) => model.send({ do: action, shown: state.position, ...what });
  const points = () => Object.entries({ bone: state.bone, shadow: state.shadow }).filter(([, place]) => place);
  const roi = () => local.roi || state.roi;

  function layout() {
    if (!state.shape) return;
    const [x, y, z] = state.shape.map((n, axis) => n * state.spacing[axis]);
    const width = Math.max(380, root.clientWidth - PANEL - 40);
    local.scale = Math.min(width / (x + z), HEIGHT / (y + z));
    const ratio = window.devicePixelRatio || 1;
    canvases.forEach((canvas, n) => {
      const [w, h] = PLANES[n].slice(1, 3).map((axis) => state.shape[axis] * state.spacing[axis] * local.scale);
      canvas.style.width = `${w}px`;
      canvas.style.height = `${h}px`;
      [canvas.width, canvas.height] = [Math.round(w * ratio), Math.round(h * ratio)];
    });
  }

  function look() {
    const low = Number(at("low").value), high = Math.max(Number(at("high").value), low + 1);
    return Uint8ClampedArray.from({ length: 256 }, (_, grey) => ((grey - low) / (high - low)) * 255);
  }

  function slice(n, table) {
    const [, right, down, through] = PLANES[n];
    const steps = [1, state.shape[0], state.shape[0] * state.shape[1]];
    const [w, h] = [state.shape[right], state.shape[down]];
    const image = new ImageData(w, h), pixels = new Uint32Array(image.data.buffer);
    for (let v = 0, pixel = 0; v < h; v++) {
      let from = local.cut[through] * steps[through] + v * steps[down];
      for (let u = 0; u < w; u++, from += steps[right]) pixels[pixel++] = 0xff000000 | (table[voxels[from]] * 0x10101);
    }
    [off.width, off.height] = [w, h];
    off.getContext("2d").putImageData(image, 0, 0);
  }

  function draw() {
    if (!state.shape || voxels.length !== state.shape[0] * state.shape[1] * state.shape[2]) {
      canvases.forEach((canvas) => canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height));
      return;
    }
    const table = look();
    canvases.forEach((canvas, n) => {
      slice(n, table);
      const pen = canvas.getContext("2d"), ratio = window.devicePixelRatio || 1;
      pen.setTransform(1, 0, 0, 1, 0, 0);
      pen.drawImage(off, 0, 0, canvas.width, canvas.height);
      pen.setTransform(ratio, 0, 0, ratio, 0, 0);
      overlay(pen, n);
    });
  }

  const px = (axis, voxel) => voxel * state.spacing[axis] * local.scale;

  function overlay(pen, n) {
    const [, right, down, through] = PLANES[n];
    const [w, h] = [px(right, state.shape[right]), px(down, state.shape[down])];
    pen.lineWidth = 1;
    pen.globalAlpha = 0.35;
    pen.strokeStyle = COLOURS.cut;
    pen.setLineDash([]);
    const [x, y] = [px(right, local.cut[right] + 0.5), px(down, local.cut[down] + 0.5)];
    line(pen, x, 0, x, h);
    line(pen, 0, y, w, y);
    const box = roi();
    if (box) {
      const [x0, x1, y0, y1] = edges(n, box);
      const inside = local.cut[through] >= box[0][through] && local.cut[through] < box[0][through] + box[1][through];
      pen.globalAlpha = inside ? 1 : 0.4;
      pen.lineWidth = 2;
      pen.strokeStyle = COLOURS.roi;
      pen.setLineDash(state.suggested.includes("roi") && !local.roi ? [6, 4] : []);
      pen.strokeRect(x0, y0, x1 - x0, y1 - y0);
      pen.setLineDash([]);
      if (local.mode === "roi") {
        pen.fillStyle = COLOURS.roi;
        for (const cx of [x0, x1]) for (const cy of [y0, y1]) pen.fillRect(cx - 4, cy - 4, 8, 8);
      }
    }
    for (const [name, place] of points()) mark(pen, name, place, n);
  }

  function line(pen, x0, y0, x1, y1) {
    pen.beginPath();
    pen.moveTo(x0, y0);
    pen.lineTo(x1, y1);
    pen.stroke();
  }

  function mark(pen, name, place, n) {
    const [, right, down, through] = PLANES[n];
    const [x, y] = [px(right, place[right] + 0.5), px(down, place[down] + 0.5)];
    const guess = state.suggested.includes(name);
    const near = Math.abs(place[through] - local.cut[through]) * state.spacing[through] <= NEAR_MM;
    pen.globalAlpha = near ? 1 : 0.4;
    pen.strokeStyle = pen.fillStyle = COLOURS[name];
    pen.lineWidth = 2;
    pen.setLineDash(guess ? [3, 3] : []);
    pen.beginPath();
    if (name === "bone") pen.arc(x, y, 7, 0, 2 * Math.PI);
    else pen.rect(x - 6, y - 6, 12, 12);
    pen.stroke();
    pen.setLineDash([]);
    line(pen, x - 2, y, x + 2, y);
    line(pen, x, y - 2, x, y + 2);
    if (!near) return;
    pen.font = "12px system-ui, sans-serif";
    pen.lineWidth = 3;
    pen.strokeStyle = "#000";
    const [label, left] = [guess ? `${name}?` : name, x > px(right, state.shape[right]) - 60];
    pen.textAlign = left ? "right" : "left";
    pen.strokeText(label, x + (left ? -10 : 10), y + 4);
    pen.fillText(label, x + (left ? -10 : 10), y + 4);
  }

  function edges(n, box) {
    const [, right, down] = PLANES[n];
    return [right, right, down, down].map((axis, side) => px(axis, box[0][axis] + (side % 2 ? box[1][axis] : 0)));
  }

  function texts() {
    const left = state.states.some((one) => one === "open" || one === "begun" || one === "changed");
    at("name").textContent = state.name;
    at("place").textContent = `${state.position + 1} of ${state.total}, ${state.annotator}${state.second ? ", second pass" : ""}`;
    at("bar").max = state.total;
    at("bar").value = state.states.filter((one) => one !== "open" && one !== "begun").length;
    at("progress").textContent = state.progress;
    at("status").textContent = state.status;
    const here = state.states[state.position];
    at("status").className = `status ${state.suggested.length ? "suggestion" : here}`;
    at("readout").replaceChildren(...state.readout.lines.map(text));
    at("flags").replaceChildren(...state.readout.flags.map(text));
    at("message").textContent = state.message;
    at("message").classList.toggle("wrong", state.wrong);
    at("exclusion").textContent = state.excluded ? "include" : "exclude";
    for (const button of root.querySelectorAll("[data-mode]")) button.classList.toggle("on", button.dataset.mode === local.mode);
    root.querySelector('[data-do="undo"]').disabled = !state.can_undo;
    root.querySelector('[data-do="redo"]').disabled = !state.can_redo;
    root.querySelector('[data-do="open"]').disabled = !left;
    for (const input of root.querySelectorAll("[data-size]")) {
      input.disabled = !roi();
      input.value = roi() ? roi()[1][Number(input.dataset.size)] : "";
    }
    const signs = { open: "", begun: "\u2026 ", changed: "\u2026 ", confirmed: "\u2713 ", excluded: "\u2715 " };
    at("jump").replaceChildren(...state.names.map((name, n) => new Option(signs[state.states[n]] + name, n, false, n === state.position)));
    root.dataset.position = state.position; // what a test waits for
    root.dataset.mode = local.mode;
    root.dataset.cut = local.cut.join(" ");
  }

  const text = (words) => Object.assign(document.createElement("div"), { textContent: words });

  function update() {
    state = model.get("state");
    local.roi = null;
    const raw = model.get("voxels");
    voxels = new Uint8Array(raw.buffer, raw.byteOffset, raw.byteLength);
    if (state.position !== local.shown) {
      local.shown = state.position;
      local.mode = "bone";
      if (state.shape) local.cut = state.bone ? [...state.bone] : state.shape.map((n) => Math.floor(n / 2));
      showReasons(false);
      layout();
    }
    texts();
    draw();
  }

  function setMode(mode) {
    local.mode = mode;
    texts();
    draw();
  }

  function showReasons(show) {
    const box = at("reasons");
    box.hidden = !show;
    if (!show) return;
    const choose = (reason) => { showReasons(false); root.focus(); send("exclude", { reason }); };
    const buttons = state.reasons.map((reason, n) => {
      const button = Object.assign(document.createElement("button"), { textContent: `${n + 1}  ${reason}` });
      button.onclick = () => choose(reason);
      return button;
    });
    const other = Object.assign(document.createElement("input"), { type: "text", placeholder: "other, then Enter", maxLength: 200 });
    other.onkeydown = (event) => { if (event.key === "Enter" && other.value.trim()) choose(other.value); };
    box.replaceChildren(text("Why can it not be used? A number, or your own words. Esc: not at all."), ...buttons, other);
    box.reasons = state.reasons.map((reason) => () => choose(reason));
  }

  function move(axis, by) {
    if (!state.shape) return;
    local.cut[axis] = clamp(local.cut[axis] + by, 0, state.shape[axis] - 1);
    root.dataset.cut = local.cut.join(" ");
    draw();
  }

  const actions = {
    confirm: () => send("confirm"), undo: () => send("undo"), redo: () => send("redo"), open: () => send("open"),
    next: () => send("step", { by: 1 }), previous: () => send("step", { by: -1 }),
    x: () => (state.excluded ? send("include") : showReasons(at("reasons").hidden)),
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
    else if (arrows[event.key]) move(arrows[event.key][0], arrows[event.key][1] * (event.shiftKey ? 5 : 1));
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
  for (const name of ["low", "high"]) at(name).addEventListener("input", draw);
  at("jump").addEventListener("change", () => { send("go", { to: Number(at("jump").value) }); root.focus({ preventScroll: true }); });
  for (const input of root.querySelectorAll("[data-size]")) {
    input.addEventListener("change", () => {
      const size = [...state.roi[1]];
      size[Number(input.dataset.size)] = Number(input.value) || 2;
      send("roi", { start: state.roi[0], size });
    });
  }

  canvases.forEach((canvas, n) => {
    const [, right, down, through] = PLANES[n];
    const voxel = (event) => [right, down].map((axis, side) => {
      const [pixel, whole] = side ? [event.offsetY, canvas.clientHeight] : [event.offsetX, canvas.clientWidth];
      return clamp(Math.floor((pixel / whole) * state.shape[axis]), 0, state.shape[axis] - 1);
    });
    const cutThere = (event) => {
      [local.cut[right], local.cut[down]] = voxel(event);
      root.dataset.cut = local.cut.join(" ");
    };
    canvas.addEventListener("pointerdown", (event) => {
      if (!state.shape || event.button !== 0) return;
      canvas.setPointerCapture(event.pointerId);
      const grip = local.mode === "roi" && state.roi ? gripAt(n, event) : null;
      local.drag = { n, grip, from: [event.offsetX, event.offsetY], roi: state.roi };
      if (!grip) cutThere(event);
      draw();
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!local.drag || local.drag.n !== n) {
        const grip = state.shape && local.mode === "roi" && state.roi ? gripAt(n, event) : null;
        canvas.style.cursor = !grip ? "crosshair" : grip.every((one) => one === "both") ? "move" : "nwse-resize";
        return;
      }
      if (local.drag.grip) local.roi = dragged(local.drag, event, right, down);
      else cutThere(event);
      draw();
    });
    canvas.addEventListener("pointerup", (event) => {
      const drag = local.drag;
      local.drag = null;
      if (!drag || drag.n !== n) return;
      if (drag.grip) {
        if (local.roi) send("roi", { start: local.roi[0], size: local.roi[1] });
      } else if (local.mode === "bone" || local.mode === "shadow") {
        const name = local.mode;
        // The shadow comes next, until somebody has marked it.
        if (name === "bone" && (!state.shadow || state.suggested.includes("shadow"))) local.mode = "shadow";
        send("point", { name, at: local.cut });
      }
    });
    canvas.addEventListener("pointercancel", () => { local.drag = local.roi = null; draw(); });
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      // A notch of a wheel is one plane; a touchpad sends many small steps. With Shift some browsers turn it sideways.
      local.wheel += (event.deltaY || event.deltaX) * (event.deltaMode ? 50 : 1);
      if (Math.abs(local.wheel) < 50) return;
      move(through, Math.sign(local.wheel) * (event.shiftKey ? 5 : 1));
      local.wheel = 0;
    }, { passive: false });
  });

  // What of the region a hand takes hold of: along each axis its start, its end, neither, or both to move it.
  function gripAt(n, event) {
    const [x0, x1, y0, y1] = edges(n, state.roi);
    const [x, y] = [event.offsetX, event.offsetY];
    if (x < x0 - GRIP || x > x1 + GRIP || y < y0 - GRIP || y > y1 + GRIP) return null;
    const near = (pixel, start, end) => (Math.abs(pixel - start) < GRIP ? "start" : Math.abs(pixel - end) < GRIP ? "end" : "");
    const grip = [near(x, x0, x1), near(y, y0, y1)];
    return grip[0] || grip[1] ? grip : ["both", "both"];
  }

  function dragged(drag, event, right, down) {
    const [start, size] = [[...drag.roi[0]], [...drag.roi[1]]];
    [right, down].forEach((axis, side) => {
      const pixels = (side ? event.offsetY : event.offsetX) - drag.from[side];
      const by = Math.round(pixels / (state.spacing[axis] * local.scale));
      const [begin, extent, whole] = [drag.roi[0][axis], drag.roi[1][axis], state.shape[axis]];
      if (drag.grip[side] === "both") start[axis] = clamp(begin + by, 0, whole - extent);
      if (drag.grip[side] === "end") size[axis] = clamp(extent + by, 2, whole - begin);
      if (drag.grip[side] === "start") {
        start[axis] = clamp(begin + by, 0, begin + extent - 2);
        size[axis] = begin + extent - start[axis];
      }
    });
    return [start, size];
  }

  const watch = new ResizeObserver(() => { layout(); draw(); });
  watch.observe(root);
  model.on("change:state", update);
  update();
  return () => { watch.disconnect(); model.off("change:state", update); };
}

export default { render };
