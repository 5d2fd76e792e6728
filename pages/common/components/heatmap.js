// A layer as a picture, drawn on a canvas in a few milliseconds and changed in place, so that
// nothing flickers while thresholds move. What leaves is hatched; rows and columns that leave whole
// have a cross beside them. Pointing at a cell reads its value; a box zooms in, and the server sends
// the exact block. Keys do the same: arrows move a cell, + and - zoom, Shift and arrows move the
// view, 0 shows all, Enter opens the kernel.
const DIVERGING = ["#2166ac", "#67a9cf", "#d1e5f0", "#f7f7f7", "#fddbc7", "#ef8a62", "#b2182b"]
  .map((hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)));
const DRAGGED = 5;
const LARGE = 8;
const instances = new WeakMap();

function decode(text, Type) {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i += 1) bytes[i] = raw.charCodeAt(i);
  return new Type(bytes.buffer);
}

function edges(data) {
  return {
    left: data.gates && data.gates.length ? 68 : 46,
    right: data.sums ? 124 : 92,
    top: data.sums ? 42 : 12,
    bottom: 34,
  };
}

function rgbOf(context, colour) {
  context.fillStyle = "#ffffff";
  context.fillStyle = colour;
  const hex = context.fillStyle;
  return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
}

function ramp(data) {
  return (share) => colourOf(share, data.signed ? DIVERGING : CIVIDIS);
}

function small(width, height, fill) {
  const picture = new ImageData(width, height);
  fill(picture.data);
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").putImageData(picture, 0, 0);
  return canvas;
}

function raster(instance, background) {
  const { data, cells, gone } = instance;
  const span = data.high - data.low || 1;
  const colour = ramp(data);
  return small(data.columns, data.rows, (pixels) => {
    for (let i = 0; i < cells.length; i += 1) {
      const shade = colour((cells[i] - data.low) / span);
      const veil = gone ? (0.9 * gone[i]) / 255 : 0;
      for (let c = 0; c < 3; c += 1) {
        pixels[4 * i + c] = shade[c] * (1 - veil) + background[c] * veil;
      }
      pixels[4 * i + 3] = 255;
    }
  });
}

// Stripes over rows and columns that leave whole, and over single cells where those are large.
function hatch(context, instance, box, ratio) {
  const { data, gone, root, whole } = instance;
  if (!gone) return;
  const areLarge = Math.min(box.width / data.columns, box.height / data.rows) >= LARGE;
  const mask = small(data.columns, data.rows, (pixels) => {
    for (let i = 0; i < gone.length; i += 1) {
      const inLine = whole.columns.has(i % data.columns) || whole.rows.has(Math.floor(i / data.columns));
      if (gone[i] === 255 && (areLarge || inLine)) pixels[4 * i + 3] = 255;
    }
  });
  const layer = document.createElement("canvas");
  layer.width = Math.max(1, Math.round(box.width * ratio));
  layer.height = Math.max(1, Math.round(box.height * ratio));
  const pen = layer.getContext("2d");
  pen.imageSmoothingEnabled = false;
  pen.drawImage(mask, 0, 0, layer.width, layer.height);
  pen.globalCompositeOperation = "source-in";
  pen.strokeStyle = getComputedStyle(root).getPropertyValue("--pruned");
  pen.globalAlpha = 0.55;
  pen.lineWidth = 1.2 * ratio;
  const lines = document.createElement("canvas");
  lines.width = layer.width;
  lines.height = layer.height;
  const stripes = lines.getContext("2d");
  stripes.strokeStyle = pen.strokeStyle;
  stripes.lineWidth = pen.lineWidth;
  for (let x = -layer.height; x < layer.width; x += 7 * ratio) {
    stripes.beginPath();
    stripes.moveTo(x, layer.height);
    stripes.lineTo(x + layer.height, 0);
    stripes.stroke();
  }
  pen.drawImage(lines, 0, 0);
  context.drawImage(layer, box.x, box.y, box.width, box.height);
}

function wholeLines(instance) {
  const { data, gone } = instance;
  const rows = new Set();
  const columns = new Set();
  if (!gone) return { rows, columns };
  for (let r = 0; r < data.rows; r += 1) {
    if (gone.subarray(r * data.columns, (r + 1) * data.columns).every((x) => x === 255)) rows.add(r);
  }
  for (let c = 0; c < data.columns; c += 1) {
    let all = true;
    for (let r = 0; r < data.rows && all; r += 1) all = gone[r * data.columns + c] === 255;
    if (all) columns.add(c);
  }
  return { rows, columns };
}

function cross(context, x, y, size) {
  context.beginPath();
  context.moveTo(x - size, y - size);
  context.lineTo(x + size, y + size);
  context.moveTo(x + size, y - size);
  context.lineTo(x - size, y + size);
  context.stroke();
}

function indexTicks(first, last, pixels, apart) {
  const wanted = Math.max(1, Math.floor(pixels / apart));
  const raw = (last - first) / wanted;
  const power = 10 ** Math.floor(Math.log10(Math.max(1, raw)));
  const step = [1, 2, 5, 10].map((f) => f * power).find((s) => s >= raw) || power * 10;
  const found = [];
  for (let i = Math.ceil(first / step) * step; i < last; i += step) found.push(i);
  return found;
}

function draw(instance) {
  const { data, root, width } = instance;
  const canvas = root.querySelector("canvas.main");
  const ratio = window.devicePixelRatio || 1;
  const height = data.height;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  const style = getComputedStyle(root);
  const edge = edges(data);
  const box = {
    x: edge.left, y: edge.top,
    width: Math.max(20, width - edge.left - edge.right), height: height - edge.top - edge.bottom,
  };
  instance.box = box;
  const background = rgbOf(context, style.getPropertyValue("--st-background-color").trim());
  context.imageSmoothingEnabled = false;
  context.drawImage(raster(instance, background), box.x, box.y, box.width, box.height);
  instance.whole = wholeLines(instance);
  hatch(context, instance, box, ratio);
  drawAxes(context, instance, style, height);
  drawGates(context, instance, style);
  drawScale(context, data, box, width);
  if (data.sums) drawSums(context, instance, style);
  drawCrosses(context, instance, style);
  mark(instance);
}

function drawAxes(context, instance, style, height) {
  const { data, box } = instance;
  const [top, bottom, left, right] = data.window;
  context.font = `11.5px ${style.fontFamily}`;
  context.fillStyle = style.color;
  context.textBaseline = "middle";
  context.textAlign = "right";
  const sorted = data.sorted || [false, false];
  const ids = data.ids || [null, null];
  const text = (axis, first, i) => {
    if (!sorted[axis]) return String(i);
    return ids[axis] ? String(ids[axis][i - first]) : `#${i}`;
  };
  for (const i of indexTicks(top, bottom, box.height, sorted[0] ? 26 : 44)) {
    context.fillText(text(0, top, i), box.x - 12, box.y + ((i - top + 0.5) / (bottom - top)) * box.height);
  }
  context.textAlign = "center";
  for (const i of indexTicks(left, right, box.width, sorted[1] ? 44 : 64)) {
    context.fillText(
      text(1, left, i), box.x + ((i - left + 0.5) / (right - left)) * box.width, box.y + box.height + 11);
  }
  const order = (axis) => (sorted[axis] ? ", highest first" : "");
  context.fillText(data.x_title + order(1), box.x + box.width / 2, height - 7);
  context.save();
  context.translate(7, box.y + box.height / 2);
  context.rotate(-Math.PI / 2);
  context.fillText(data.y_title + order(0), 0, 0);
  context.restore();
}

// The rows of a recurrent weight are blocks, one a gate.
function drawGates(context, instance, style) {
  const { data, box } = instance;
  if (!data.gates || !data.gates.length) return;
  const [top, bottom] = data.window;
  const size = data.n_out / data.gates.length;
  const toY = (row) => box.y + ((row - top) / (bottom - top)) * box.height;
  context.textAlign = "center";
  data.gates.forEach((name, i) => {
    const from = Math.max(top, i * size);
    const to = Math.min(bottom, (i + 1) * size);
    if (to <= from) return;
    context.fillStyle = style.color;
    context.font = `700 13px ${style.fontFamily}`;
    context.fillText(name, 26, (toY(from) + toY(to)) / 2);
    if (i * size > top && i * size < bottom) {
      for (const [colour, line] of [["#000", 4], ["#fff", 2]]) {
        context.strokeStyle = colour;
        context.lineWidth = line;
        context.beginPath();
        context.moveTo(box.x - 46, toY(i * size));
        context.lineTo(box.x + box.width, toY(i * size));
        context.stroke();
      }
    }
  });
  context.font = `11.5px ${style.fontFamily}`;
}

function drawSums(context, instance, style) {
  const { data, box, sums, whole } = instance;
  const room = 24;
  const stripe = style.getPropertyValue("--pruned");
  const bar = (x, y, w, h, goes) => {
    context.fillStyle = goes ? stripe : style.color;
    context.globalAlpha = goes ? 0.8 : 0.45;
    context.fillRect(x, y, w, h);
    context.globalAlpha = 1;
  };
  const tallest = (list) => list.reduce((most, value) => Math.max(most, value), 0) || 1;
  const down = box.height / data.rows;
  const across = box.width / data.columns;
  const gap = (step) => (step > 4 ? 0.75 : 0);
  const most = [tallest(sums[0]), tallest(sums[1])];
  sums[0].forEach((value, r) => bar(
    box.x + box.width + 5, box.y + r * down + gap(down), (value / most[0]) * room,
    Math.max(0.6, down - 2 * gap(down)), whole.rows.has(r)));
  sums[1].forEach((value, c) => {
    const tall = (value / most[1]) * room;
    bar(box.x + c * across + gap(across), box.y - 11 - tall, Math.max(0.6, across - 2 * gap(across)),
      tall, whole.columns.has(c));
  });
}

function drawCrosses(context, instance, style) {
  const { data, box, whole } = instance;
  context.strokeStyle = style.getPropertyValue("--pruned");
  context.lineWidth = 1.4;
  const size = (step) => Math.max(1, Math.min(3, step / 2 - 0.5));
  const down = box.height / data.rows;
  const across = box.width / data.columns;
  for (const r of whole.rows) cross(context, box.x - 5, box.y + (r + 0.5) * down, size(down));
  for (const c of whole.columns) cross(context, box.x + (c + 0.5) * across, box.y - 6, size(across));
}

function drawScale(context, data, box, width) {
  const x = width - 76;
  const colour = ramp(data);
  for (let i = 0; i < box.height; i += 1) {
    context.fillStyle = `rgb(${colour(1 - i / box.height).map(Math.round).join(",")})`;
    context.fillRect(x, box.y + i, 12, 1.5);
  }
  context.fillStyle = getComputedStyle(context.canvas).color;
  context.textAlign = "left";
  for (const share of [0, 0.25, 0.5, 0.75, 1]) {
    const value = data.low + share * (data.high - data.low);
    context.fillText(formatScore(value, 3), x + 16, box.y + (1 - share) * box.height);
  }
  context.save();
  context.translate(width - 7, box.y + box.height / 2);
  context.rotate(-Math.PI / 2);
  context.textAlign = "center";
  context.fillText(data.value, 0, 0);
  context.restore();
}

function cellAt(instance, event) {
  const { data, box, root } = instance;
  const bounds = root.querySelector("canvas.main").getBoundingClientRect();
  return {
    column: Math.floor(((event.clientX - bounds.left - box.x) / box.width) * data.columns),
    row: Math.floor(((event.clientY - bounds.top - box.y) / box.height) * data.rows),
  };
}

function isInside(data, cell) {
  return cell.column >= 0 && cell.column < data.columns && cell.row >= 0 && cell.row < data.rows;
}

// Where a cell begins and ends, counted in the order that is shown.
function span(data, axis, index) {
  const [first, last] = axis === 0 ? data.window.slice(0, 2) : data.window.slice(2);
  const blocks = axis === 0 ? data.rows : data.columns;
  const start = first + Math.floor((index * (last - first)) / blocks);
  return [start, Math.max(start + 1, first + Math.floor(((index + 1) * (last - first)) / blocks))];
}

// The stored index of a line, or null where a cell stands for several.
function stored(data, axis, index) {
  const [start, end] = span(data, axis, index);
  if (end - start > 1) return null;
  if (!data.sorted || !data.sorted[axis]) return start;
  const first = data.window[2 * axis];
  return data.ids[axis] ? data.ids[axis][start - first] : null;
}

function place(data, axis, index) {
  const word = data.words[axis];
  const found = stored(data, axis, index);
  if (found === null) {
    const [start, end] = span(data, axis, index);
    const where = data.sorted && data.sorted[axis] ? `${word} places` : `${word}s`;
    return `${where} ${start} to ${end - 1}`;
  }
  if (axis === 1 && data.per_column > 1) {
    const position = found % data.per_column;
    return `${word} ${Math.floor(found / data.per_column)}, kernel position ${position}`;
  }
  if (axis === 0 && data.gates && data.gates.length) {
    const size = data.n_out / data.gates.length;
    return `hidden unit ${found % size}, gate ${data.gates[Math.floor(found / size)]}`;
  }
  return `${word} ${found}`;
}

function tell(instance, cell) {
  const { data, cells, gone, root } = instance;
  if (!cell || !isInside(data, cell)) {
    root.querySelector(".readout").textContent = data.hint;
    return;
  }
  const at = cell.row * data.columns + cell.column;
  const left = gone && gone[at] > 0
    ? (gone[at] === 255 ? ", leaves" : `, ${Math.round(gone[at] / 2.55)} % leave`) : "";
  root.querySelector(".readout").textContent =
    `${place(data, 0, cell.row)}, ${place(data, 1, cell.column)}: ${formatScore(cells[at])}${left}`;
}

// The frame around the cell that keys move.
function mark(instance) {
  const { data, box, root, cursor } = instance;
  const frame = root.querySelector(".cursor");
  frame.hidden = !cursor;
  if (!cursor) return;
  const down = box.height / data.rows;
  const across = box.width / data.columns;
  Object.assign(frame.style, {
    left: `${box.x + cursor.column * across - 1}px`, top: `${box.y + cursor.row * down - 1}px`,
    width: `${Math.max(4, across) + 2}px`, height: `${Math.max(4, down) + 2}px`,
  });
}

function sendWindow(instance, wanted) {
  const { data } = instance;
  instance.cursor = null;
  let window_ = null;
  if (wanted) {
    window_ = wanted.map(Math.round);
    if (window_[0] <= 0 && window_[2] <= 0 && window_[1] >= data.n_out && window_[3] >= data.n_in) {
      window_ = null;
    }
  }
  instance.send("zoom", { parameter: data.parameter, window: window_, at: Date.now() });
}

function zoom(instance, factor) {
  const { data, cursor } = instance;
  const [top, bottom, left, right] = data.window;
  const centre = cursor
    ? [span(data, 0, cursor.row)[0], span(data, 1, cursor.column)[0]]
    : [(top + bottom) / 2, (left + right) / 2];
  const half = [(bottom - top) * factor / 2, (right - left) * factor / 2];
  const fit = (middle, reach, size) => {
    const length = Math.min(size, Math.max(4, 2 * reach));
    const start = Math.max(0, Math.min(size - length, middle - length / 2));
    return [start, start + length];
  };
  sendWindow(instance, [...fit(centre[0], half[0], data.n_out), ...fit(centre[1], half[1], data.n_in)]);
}

function pan(instance, down, across) {
  const { data } = instance;
  const [top, bottom, left, right] = data.window;
  const shift = (first, last, size, step) => {
    const by = Math.max(-first, Math.min(size - last, step * Math.max(1, (last - first) / 4)));
    return [first + by, last + by];
  };
  sendWindow(instance, [...shift(top, bottom, data.n_out, down), ...shift(left, right, data.n_in, across)]);
}

function openKernel(instance, cell) {
  const { data } = instance;
  if (!data.kernel || !data.kernel.length) return;
  const row = stored(data, 0, cell.row);
  const column = stored(data, 1, cell.column);
  if (row === null || column === null) {
    say(instance, "Zoom in until a cell is one kernel, then click it.");
    return;
  }
  instance.send("cell", {
    parameter: data.parameter, row, column: Math.floor(column / data.per_column), at: Date.now(),
  });
}

function say(instance, text) {
  instance.root.querySelector(".readout").textContent = text;
}

function onKey(instance, event) {
  const { data } = instance;
  const arrows = {
    ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1],
  }[event.key];
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (arrows && event.shiftKey) {
    if (data.zoomable) pan(instance, ...arrows);
  } else if (arrows) {
    const from = instance.cursor || { row: 0, column: 0 };
    const step = instance.cursor ? arrows : [0, 0];
    instance.cursor = {
      row: Math.max(0, Math.min(data.rows - 1, from.row + step[0])),
      column: Math.max(0, Math.min(data.columns - 1, from.column + step[1])),
    };
    mark(instance);
    tell(instance, instance.cursor);
  } else if (data.zoomable && (event.key === "+" || event.key === "=")) {
    zoom(instance, 0.5);
  } else if (data.zoomable && event.key === "-") {
    zoom(instance, 2);
  } else if (data.zoomable && event.key === "0") {
    sendWindow(instance, null);
  } else if (event.key === "Enter" && instance.cursor) {
    openKernel(instance, instance.cursor);
  } else {
    return;
  }
  event.preventDefault();
}

function listen(instance) {
  const { root } = instance;
  const canvas = root.querySelector("canvas.main");
  const frame = root.querySelector(".marquee");
  const bounded = (event) => {
    const bounds = canvas.getBoundingClientRect();
    const { box } = instance;
    return {
      x: Math.max(box.x, Math.min(box.x + box.width, event.clientX - bounds.left)),
      y: Math.max(box.y, Math.min(box.y + box.height, event.clientY - bounds.top)),
    };
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !instance.data.zoomable) return;
    if (!isInside(instance.data, cellAt(instance, event))) return;
    canvas.setPointerCapture(event.pointerId);
    instance.from = bounded(event);
  });
  canvas.addEventListener("pointermove", (event) => {
    tell(instance, cellAt(instance, event));
    if (!instance.from) return;
    const to = bounded(event);
    const { from } = instance;
    frame.hidden = Math.abs(to.x - from.x) < DRAGGED && Math.abs(to.y - from.y) < DRAGGED;
    Object.assign(frame.style, {
      left: `${Math.min(from.x, to.x)}px`, top: `${Math.min(from.y, to.y)}px`,
      width: `${Math.abs(to.x - from.x)}px`, height: `${Math.abs(to.y - from.y)}px`,
    });
  });
  canvas.addEventListener("pointerup", (event) => {
    const { from, box, data } = instance;
    if (!from) return;
    instance.from = null;
    const to = bounded(event);
    if (frame.hidden) {
      instance.cursor = cellAt(instance, event);
      if (!isInside(data, instance.cursor)) instance.cursor = null;
      mark(instance);
      if (instance.cursor) openKernel(instance, instance.cursor);
      return;
    }
    frame.hidden = true;
    const [top, bottom, left, right] = data.window;
    const row = (y) => top + ((y - box.y) / box.height) * (bottom - top);
    const column = (x) => left + ((x - box.x) / box.width) * (right - left);
    sendWindow(instance, [
      Math.floor(row(Math.min(from.y, to.y))), Math.ceil(row(Math.max(from.y, to.y))),
      Math.floor(column(Math.min(from.x, to.x))), Math.ceil(column(Math.max(from.x, to.x))),
    ]);
  });
  canvas.addEventListener("pointercancel", () => {
    instance.from = null;
    frame.hidden = true;
  });
  canvas.addEventListener("pointerleave", () => tell(instance, instance.cursor));
  canvas.addEventListener("keydown", (event) => onKey(instance, event));
  const press = {
    in: () => zoom(instance, 0.5), out: () => zoom(instance, 2), all: () => sendWindow(instance, null),
  };
  for (const [name, action] of Object.entries(press)) {
    root.querySelector(`.zoom .${name}`).addEventListener("click", action);
  }
  root.querySelector(".close").addEventListener("click", () => {
    instance.send("cell", { parameter: "", at: Date.now() });
  });
  instance.observer = new ResizeObserver(() => {
    const width = Math.round(root.clientWidth);
    if (width > 0 && width !== instance.width) {
      instance.width = width;
      draw(instance);
    }
  });
  instance.observer.observe(root);
}

// One kernel as a picture: its weights with their sign, slices of a 3-d one side by side.
function drawKernel(instance) {
  const { data, root } = instance;
  const box = root.querySelector(".kernel");
  const found = data.picture;
  box.hidden = !found;
  if (!found) return;
  const most = Math.max(...found.values.map(Math.abs)) || 1;
  const gap = found.slices > 1 ? 1 : 0;
  const width = found.slices * (found.width + gap) - gap;
  const cell = Math.max(4, Math.min(22, Math.floor(300 / width), Math.floor(110 / found.height)));
  let canvas = box.querySelector("canvas");
  if (!canvas) {
    canvas = document.createElement("canvas");
    canvas.setAttribute("role", "img");
    box.prepend(canvas);
  }
  canvas.width = width * cell;
  canvas.height = found.height * cell;
  canvas.style.width = `${width * cell}px`;
  const context = canvas.getContext("2d");
  found.values.forEach((value, i) => {
    const slice = Math.floor(i / (found.width * found.height));
    const y = Math.floor(i / found.width) % found.height;
    const x = (i % found.width) + slice * (found.width + gap);
    const colour = colourOf((value / most + 1) / 2, DIVERGING);
    context.fillStyle = `rgb(${colour.map(Math.round).join(",")})`;
    context.fillRect(x * cell, y * cell, cell - (cell > 8 ? 1 : 0), cell - (cell > 8 ? 1 : 0));
  });
  canvas.setAttribute("aria-label", found.text);
  box.querySelector(".words").textContent =
    `${found.text}. Red is positive, blue negative, full colour is ${formatScore(most, 3)}.`;
}

export default function ({ data: bytes, parentElement, setTriggerValue }) {
  const data = unpacked(bytes);
  const root = parentElement.querySelector(".heatmap");
  let instance = instances.get(root);
  const isNew = !instance;
  if (isNew) {
    instance = { root, width: Math.round(root.clientWidth) || 560, cursor: null, from: null };
    instances.set(root, instance);
  }
  instance.send = setTriggerValue;
  const before = instance.data;
  instance.data = data;
  instance.cells = decode(data.cells, Float32Array);
  instance.gone = data.gone ? decode(data.gone, Uint8Array) : null;
  instance.sums = data.sums ? data.sums.map((text) => decode(text, Float32Array)) : null;
  if (before && (before.rows !== data.rows || before.columns !== data.columns)) instance.cursor = null;
  if (isNew) listen(instance);
  const canvas = root.querySelector("canvas.main");
  root.querySelector("figcaption").textContent = data.title;
  canvas.setAttribute("aria-label", data.alt);
  canvas.tabIndex = data.zoomable ? 0 : -1;
  root.classList.toggle("zoomable", data.zoomable === true);
  const [top, bottom, left, right] = data.window;
  const whole = bottom - top === data.n_out && right - left === data.n_in;
  root.querySelector(".zoom").hidden = !data.zoomable;
  root.querySelector(".zoom .all").disabled = whole;
  root.querySelector(".zoom .out").disabled = whole;
  root.querySelector(".zoom .where").textContent = whole ? ""
    : `${data.words[0]}s ${top} to ${bottom - 1} of ${data.n_out}, ` +
      `${data.words[1]}s ${left} to ${right - 1} of ${data.n_in}`;
  paint(root);
  draw(instance);
  tell(instance, instance.cursor);
  drawKernel(instance);
  return whenGone(root, () => instance.observer.disconnect());
}
