// Draws planes of a volume. The viewer (view.js) and the annotation tool (annotate.js) stand in one script with this file.
// A frame says where a plane lies on its canvas: { plane, left, top, scale }, in pixels and pixels per mm.
// A text for readers stands in a call of say; where the page is written in another language, it is put in there.
const say = (text) => text;
const AXES = ["lateral", "depth", "elevation"];
// Each plane's name, the axes that run right and down in it, and the one that it cuts.
const PLANES = [["transverse", 0, 1, 2], ["sagittal", 2, 1, 0], ["coronal", 0, 2, 1]];
const NAMES = {
  transverse: say("transverse"), sagittal: say("sagittal"), coronal: say("coronal"),
  lateral: say("lateral"), depth: say("depth"), elevation: say("elevation"), bone: say("bone"), shadow: say("shadow"),
};
const COLOURS = { bone: "#E69F00", shadow: "#56B4E9", roi: "#00C895" }; // Okabe and Ito, the green lightened on black
const HALO = ["rgba(0,0,0,.75)", 4.5];

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const spot = ({ plane: [, right, down], left, top, scale }, mm) => [left + mm[right] * scale, top + mm[down] * scale];
const middleOf = (index, spacing) => index.map((at, axis) => (at + 0.5) * spacing[axis]);

// What each of the 256 values looks like, as alpha, blue, green, red; black up to low, white from high on.
function greys(low, high) {
  const level = (value) => Math.round(255 * clamp((value - low) / (high - low), 0, 1));
  return Uint32Array.from({ length: 256 }, (_, value) => 0xff000000 + level(value) * 0x010101);
}

// One plane of an array (i fastest) as a picture, a pixel for each voxel.
function cut(data, shape, [, right, down, through], index, look) {
  const step = [1, shape[0], shape[0] * shape[1]];
  const image = new ImageData(shape[right], shape[down]);
  const pixels = new Uint32Array(image.data.buffer);
  for (let y = 0, n = 0; y < shape[down]; y++) {
    let from = index * step[through] + y * step[down];
    for (let x = 0; x < shape[right]; x++, from += step[right]) pixels[n++] = look[data[from]];
  }
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [shape[right], shape[down]];
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

// An array of voxels, of which one plane is drawn; it begins at `origin` in the volume, in mm.
function drawSlab(pen, frame, { data, shape, spacing, origin = [0, 0, 0] }, index, look) {
  const [, right, down] = frame.plane;
  const size = (axis) => shape[axis] * spacing[axis] * frame.scale;
  pen.drawImage(cut(data, shape, frame.plane, index, look), ...spot(frame, origin), size(right), size(down));
}

function outlined(pen, ...looks) {
  for (const [colour, width] of looks) {
    [pen.strokeStyle, pen.lineWidth] = [colour, width];
    pen.stroke();
  }
}

function named(pen, text, x, y, colour) {
  [pen.lineWidth, pen.lineJoin, pen.strokeStyle, pen.fillStyle] = [3.5, "round", "rgba(0,0,0,.8)", colour];
  pen.strokeText(text, x, y);
  pen.fillText(text, x, y);
}

// Where the other two planes cut this one; what lies in the middle stays free.
function drawCrosshair(pen, frame, mm) {
  const [x, y] = spot(frame, mm);
  pen.beginPath();
  for (const [from, to] of [[-1e4, -9], [9, 1e4]]) {
    pen.moveTo(x, y + from); pen.lineTo(x, y + to);
    pen.moveTo(x + from, y); pen.lineTo(x + to, y);
  }
  outlined(pen, ["rgba(0,0,0,.35)", 2.5], ["rgba(255,255,255,.6)", 1]);
}

// A region of interest from corner to corner, dashed where it is only suggested.
function drawRegion(pen, frame, first, last, dashed = false) {
  const [[x0, y0], [x1, y1]] = [spot(frame, first), spot(frame, last)];
  pen.setLineDash(dashed ? [6, 4] : []);
  pen.beginPath();
  pen.rect(x0, y0, x1 - x0, y1 - y0);
  outlined(pen, HALO, [COLOURS.roi, 2]);
  pen.setLineDash([]);
}

// A reference point: bone is a circle, shadow a diamond, filled in its own plane, dashed where it is only suggested.
function drawPoint(pen, frame, name, mm, { label = NAMES[name], filled = false, dashed = false, whole }) {
  const [x, y] = spot(frame, mm), colour = COLOURS[name], r = 5;
  pen.setLineDash(dashed ? [3, 3] : []);
  pen.beginPath();
  if (name === "bone") pen.arc(x, y, r, 0, 2 * Math.PI);
  else [[0, -r], [r, 0], [0, r], [-r, 0]].forEach(([dx, dy]) => pen.lineTo(x + 1.25 * dx, y + 1.25 * dy));
  pen.closePath();
  outlined(pen, HALO, [colour, 2]);
  pen.setLineDash([]);
  pen.fillStyle = colour;
  if (filled) pen.fill();
  if (!label) return;
  const [right, bottom] = spot(frame, whole), left = x > right - 60;
  pen.font = "12px system-ui, sans-serif";
  pen.textBaseline = "middle";
  pen.textAlign = left ? "right" : "left";
  named(pen, label, x + (left ? -11 : 11), clamp(y, frame.top + 8, bottom - 8), colour);
}
