// What a hand does in the planes of the annotation tool: it looks, sets a point, takes hold of the region, turns the wheel.
const GRIP = 8; // pixels around an edge

// What of the region a hand takes hold of: along each axis its start, its end, neither, or both to move it.
function gripAt(view, n, event) {
  if (view.mode !== "roi" || !view.state.roi) return null;
  const [[x0, y0], [x1, y1]] = corners(view, view.state.roi).map((mm) => spot(frameOf(view, n), mm));
  const [x, y] = [event.offsetX, event.offsetY];
  if (x < x0 - GRIP || x > x1 + GRIP || y < y0 - GRIP || y > y1 + GRIP) return null;
  const near = (pixel, start, end) => (Math.abs(pixel - start) < GRIP ? "start" : Math.abs(pixel - end) < GRIP ? "end" : "");
  const grip = [near(x, x0, x1), near(y, y0, y1)];
  return grip[0] || grip[1] ? grip : ["both", "both"];
}

function dragged(view, drag, event) {
  const [start, size] = [[...drag.roi[0]], [...drag.roi[1]]];
  PLANES[drag.n].slice(1, 3).forEach((axis, side) => {
    const pixels = (side ? event.offsetY : event.offsetX) - drag.from[side];
    const by = Math.round(pixels / (view.scale * view.state.spacing[axis]));
    const [begin, extent, whole] = [drag.roi[0][axis], drag.roi[1][axis], view.state.shape[axis]];
    if (drag.grip[side] === "both") start[axis] = clamp(begin + by, 0, whole - extent);
    if (drag.grip[side] === "end") size[axis] = clamp(extent + by, 2, whole - begin);
    if (drag.grip[side] === "start") {
      start[axis] = clamp(begin + by, 0, begin + extent - 2);
      size[axis] = begin + extent - start[axis];
    }
  });
  return [start, size];
}

// `hands` has what follows: moved(), seek(axis, by), point(name), region(roi).
function follow(view, canvas, n, hands) {
  const [, right, down, through] = PLANES[n];
  let drag = null, wheel = 0;
  const lookThere = (event) => [right, down].forEach((axis, side) => {
    const [pixel, whole] = side ? [event.offsetY, canvas.clientHeight] : [event.offsetX, canvas.clientWidth];
    view.cut[axis] = clamp(Math.floor((pixel / whole) * view.state.shape[axis]), 0, view.state.shape[axis] - 1);
  });
  canvas.addEventListener("pointerdown", (event) => {
    if (!view.state.shape || event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    drag = { n, grip: gripAt(view, n, event), from: [event.offsetX, event.offsetY], roi: view.state.roi };
    if (!drag.grip) lookThere(event);
    hands.moved();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!drag) {
      const grip = view.state.shape ? gripAt(view, n, event) : null;
      canvas.style.cursor = !grip ? "crosshair" : grip.every((one) => one === "both") ? "move" : "nwse-resize";
      return;
    }
    if (drag.grip) view.roi = dragged(view, drag, event);
    else lookThere(event);
    hands.moved();
  });
  canvas.addEventListener("pointerup", () => {
    if (drag && drag.grip) { if (view.roi) hands.region(view.roi); }
    else if (drag && (view.mode === "bone" || view.mode === "shadow")) hands.point(view.mode);
    drag = null;
  });
  canvas.addEventListener("pointercancel", () => { drag = view.roi = null; hands.moved(); });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    // A notch of a wheel is one plane; a touchpad sends many small steps. With Shift some browsers turn it sideways.
    wheel += (event.deltaY || event.deltaX) * (event.deltaMode ? 50 : 1);
    if (Math.abs(wheel) < 50) return;
    hands.seek(through, Math.sign(wheel) * (event.shiftKey ? 5 : 1));
    wheel = 0;
  }, { passive: false });
}
