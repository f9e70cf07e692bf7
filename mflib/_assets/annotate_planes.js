// Draws the planes of the annotation tool; annotate.js, which stands in the same module, holds what they show.
// `view` has the state that Python sent, its voxels, the planes' place (cut), the mode, a region in hand (roi) and the
// window (low, high).
const PLANES = [["transverse", 0, 1, 2], ["sagittal", 2, 1, 0], ["coronal", 0, 2, 1]];
const COLOURS = { bone: "#E69F00", shadow: "#56B4E9", roi: "#2fd39b", cut: "#ffffff" }; // Okabe and Ito, lightened on black
const NEAR_MM = 1.5, HEIGHT = 580;
const slab = document.createElement("canvas"); // one plane, a pixel for each voxel

const px = (view, axis, voxel) => voxel * view.state.spacing[axis] * view.scale;
const box = (view) => view.roi || view.state.roi;

function layout(view, canvases, width) {
  if (!view.state.shape) return;
  const [x, y, z] = view.state.shape.map((n, axis) => n * view.state.spacing[axis]);
  view.scale = Math.min(width / (x + z), HEIGHT / (y + z));
  const ratio = window.devicePixelRatio || 1;
  canvases.forEach((canvas, n) => {
    const [w, h] = PLANES[n].slice(1, 3).map((axis) => px(view, axis, view.state.shape[axis]));
    canvas.style.width = `${w}px`;
    canvas.style.height = `${h}px`;
    [canvas.width, canvas.height] = [Math.round(w * ratio), Math.round(h * ratio)];
  });
}

function draw(view, canvases) {
  const { shape } = view.state, ratio = window.devicePixelRatio || 1;
  const whole = shape && view.voxels.length === shape[0] * shape[1] * shape[2];
  const grey = Uint8ClampedArray.from({ length: 256 }, (_, value) => ((value - view.low) / (view.high - view.low)) * 255);
  canvases.forEach((canvas, n) => {
    const pen = canvas.getContext("2d");
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.globalAlpha = 1;
    pen.clearRect(0, 0, canvas.width, canvas.height);
    if (!whole) return;
    slice(view, n, grey);
    pen.drawImage(slab, 0, 0, canvas.width, canvas.height);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    crosshair(view, pen, n);
    if (box(view)) region(view, pen, n);
    for (const name of ["bone", "shadow"]) if (view.state[name]) mark(view, pen, n, name);
  });
}

function slice(view, n, grey) {
  const [, right, down, through] = PLANES[n], { shape } = view.state;
  const steps = [1, shape[0], shape[0] * shape[1]];
  const [w, h] = [shape[right], shape[down]];
  const image = new ImageData(w, h), pixels = new Uint32Array(image.data.buffer);
  for (let v = 0, pixel = 0; v < h; v++) {
    let from = view.cut[through] * steps[through] + v * steps[down];
    for (let u = 0; u < w; u++, from += steps[right]) pixels[pixel++] = 0xff000000 | (grey[view.voxels[from]] * 0x10101);
  }
  [slab.width, slab.height] = [w, h];
  slab.getContext("2d").putImageData(image, 0, 0);
}

function line(pen, x0, y0, x1, y1) {
  pen.beginPath();
  pen.moveTo(x0, y0);
  pen.lineTo(x1, y1);
  pen.stroke();
}

function crosshair(view, pen, n) {
  const [, right, down] = PLANES[n];
  const [w, h] = [right, down].map((axis) => px(view, axis, view.state.shape[axis]));
  const [x, y] = [right, down].map((axis) => px(view, axis, view.cut[axis] + 0.5));
  pen.lineWidth = 1;
  pen.globalAlpha = 0.35;
  pen.strokeStyle = COLOURS.cut;
  pen.setLineDash([]);
  line(pen, x, 0, x, h);
  line(pen, 0, y, w, y);
}

// Left, right, top and bottom of a region in a plane.
function edges(view, n, [start, size]) {
  const [, right, down] = PLANES[n];
  return [right, right, down, down].map((axis, side) => px(view, axis, start[axis] + (side % 2 ? size[axis] : 0)));
}

function region(view, pen, n) {
  const through = PLANES[n][3], [start, size] = box(view), [x0, x1, y0, y1] = edges(view, n, box(view));
  const inside = view.cut[through] >= start[through] && view.cut[through] < start[through] + size[through];
  pen.globalAlpha = inside ? 1 : 0.4;
  pen.lineWidth = 2;
  pen.strokeStyle = pen.fillStyle = COLOURS.roi;
  pen.setLineDash(view.state.suggested.includes("roi") && !view.roi ? [6, 4] : []);
  pen.strokeRect(x0, y0, x1 - x0, y1 - y0);
  pen.setLineDash([]);
  if (view.mode === "roi") for (const x of [x0, x1]) for (const y of [y0, y1]) pen.fillRect(x - 4, y - 4, 8, 8);
}

function mark(view, pen, n, name) {
  const [, right, down, through] = PLANES[n], place = view.state[name], guess = view.state.suggested.includes(name);
  const [x, y] = [right, down].map((axis) => px(view, axis, place[axis] + 0.5));
  const near = Math.abs(place[through] - view.cut[through]) * view.state.spacing[through] <= NEAR_MM;
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
  const [label, left] = [guess ? `${name}?` : name, x > px(view, right, view.state.shape[right]) - 60];
  pen.textAlign = left ? "right" : "left";
  pen.strokeText(label, x + (left ? -10 : 10), y + 4);
  pen.fillText(label, x + (left ? -10 : 10), y + 4);
}
