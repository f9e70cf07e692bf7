// Draws the planes; view.js, which stands in the same function, holds what they show.
const HALO = ["rgba(0,0,0,.75)", 4.5];

// What each of the 256 values looks like, as alpha, blue, green, red.
function greys() {
  return Uint32Array.from({ length: 256 }, (_, value) => {
    // DICOM PS3.3 C.11.2.1.2.1, linear
    const part = (value - (state.level - 0.5)) / (state.width - 1) + 0.5;
    return 0xff000000 + Math.round(255 * clamp(part, 0, 1)) * 0x010101;
  });
}

function colours() {
  const rgb = scene.saliency.colours;
  return Uint32Array.from({ length: 256 }, (_, value) => {
    const [red, green, blue] = rgb.slice(3 * value, 3 * value + 3);
    return Math.round(state.opacity * value) * 0x1000000 + blue * 0x10000 + green * 0x100 + red;
  });
}

function cut(data, size, [, right, down, through], index, look) {
  const step = [1, size[0], size[0] * size[1]];
  const image = new ImageData(size[right], size[down]);
  const pixels = new Uint32Array(image.data.buffer);
  for (let y = 0, n = 0; y < size[down]; y++) {
    let from = index * step[through] + y * step[down];
    for (let x = 0; x < size[right]; x++, from += step[right]) pixels[n++] = look[data[from]];
  }
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [size[right], size[down]];
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

function outlined(pen, ...looks) {
  for (const [colour, width] of looks) {
    [pen.strokeStyle, pen.lineWidth] = [colour, width];
    pen.stroke();
  }
}

function named(pen, text, x, y, colour) {
  pen.lineWidth = 3.5;
  pen.lineJoin = "round";
  pen.strokeStyle = "rgba(0,0,0,.8)";
  pen.strokeText(text, x, y);
  pen.fillStyle = colour;
  pen.fillText(text, x, y);
}

function mark(pen, name, x, y, r) {
  pen.beginPath();
  if (name === "bone") pen.arc(x, y, r, 0, 2 * Math.PI);
  else [[0, -r], [r, 0], [0, r], [-r, 0]].forEach(([dx, dy]) => pen.lineTo(x + 1.25 * dx, y + 1.25 * dy));
  pen.closePath();
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
  pen.fillText(`${axes[right]} (mm)`, LEFT + Math.max(wide, LEAST) / 2, TOP + high + 28);
  pen.textAlign = "right";
  for (let at = 0; at <= extent[down]; at += every) {
    pen.fillRect(LEFT - 4, TOP + at * scale - 0.5, 4, 1);
    pen.fillText(at, LEFT - 7, TOP + at * scale);
  }
  pen.textAlign = "center";
  pen.save();
  pen.translate(11, TOP + Math.max(high, LEAST) / 2);
  pen.rotate(-Math.PI / 2);
  pen.fillText(`${axes[down]} (mm)`, 0, 0);
  pen.restore();
}

function drawOverlay(pen, plane, scale) {
  const [, right, down, through] = plane, at = middle(through);
  const x = (value) => LEFT + value * scale, y = (value) => TOP + value * scale;
  if (shown.crosshair) {
    const [h, v] = [x(middle(right)), y(middle(down))];
    pen.beginPath();
    for (const [from, to] of [[-1e4, -9], [9, 1e4]]) {
      pen.moveTo(h, v + from); pen.lineTo(h, v + to);
      pen.moveTo(h + from, v); pen.lineTo(h + to, v);
    }
    outlined(pen, ["rgba(0,0,0,.35)", 2.5], ["rgba(255,255,255,.6)", 1]);
  }
  if (scene.roi && shown.roi && scene.roi[0][through] <= at && at <= scene.roi[1][through]) {
    const [from, to] = scene.roi;
    pen.beginPath();
    pen.rect(x(from[right]), y(from[down]), (to[right] - from[right]) * scale, (to[down] - from[down]) * scale);
    outlined(pen, HALO, [scene.region, 2]);
    named(pen, "ROI", x(from[right]) + 16, y(from[down]) + 12, scene.region);
  }
  for (const point of shown.points ? scene.points : []) {
    const away = Math.abs(point.at[through] - at);
    if (away > Math.max(scene.near, spacing[through] / 2)) continue;
    const [h, v] = [x(point.at[right]), y(point.at[down])];
    mark(pen, point.name, h, v, 5);
    outlined(pen, HALO, [point.colour, 2]);
    if (away <= spacing[through] / 2) {
      pen.fillStyle = point.colour;
      pen.fill();
    }
    const side = h > x(extent[right]) - 60 ? "right" : "left";
    pen.textAlign = side;
    named(pen, point.name, h + (side === "left" ? 11 : -11), clamp(v, y(0) + 8, y(extent[down]) - 8), point.colour);
    pen.textAlign = "center";
  }
}

function drawPlane({ plane, box, canvas }, scale, look, tint) {
  const [, right, down, through] = plane;
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
  const size = (axis, of) => of.shape[axis] * of.spacing[axis] * scale;
  const grey = cut(voxels, shape, plane, state.at[through], look);
  pen.drawImage(grey, LEFT, TOP, size(right, scene), size(down, scene));
  const map = scene.saliency;
  const index = map && Math.floor((middle(through) - map.origin[through]) / map.spacing[through]);
  if (map && shown.saliency && index >= 0 && index < map.shape[through]) {
    const veil = cut(salient, map.shape, plane, index, tint);
    const [x, y] = [LEFT + map.origin[right] * scale, TOP + map.origin[down] * scale];
    pen.drawImage(veil, x, y, size(right, map), size(down, map));
  }
  drawOverlay(pen, plane, scale);
}
