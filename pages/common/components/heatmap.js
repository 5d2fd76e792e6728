// A layer as a picture, drawn on a canvas in a few milliseconds and changed in place, so that
// nothing flickers while thresholds move. What leaves is blanked; rows and columns that leave whole
// have a cross beside them. Pointing at a cell reads its value.
const EDGE = { left: 46, right: 92, top: 12, bottom: 34 };
const instances = new WeakMap();

function decode(text, Type) {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i += 1) bytes[i] = raw.charCodeAt(i);
  return new Type(bytes.buffer);
}

function rgbOf(context, colour) {
  context.fillStyle = "#ffffff";
  context.fillStyle = colour;
  const hex = context.fillStyle;
  return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
}

function raster(instance, background) {
  const { data, cells, gone } = instance;
  const picture = new ImageData(data.columns, data.rows);
  const span = data.high - data.low || 1;
  for (let i = 0; i < cells.length; i += 1) {
    const colour = colourOf((cells[i] - data.low) / span);
    const veil = gone ? (0.94 * gone[i]) / 255 : 0;
    for (let c = 0; c < 3; c += 1) {
      picture.data[4 * i + c] = colour[c] * (1 - veil) + background[c] * veil;
    }
    picture.data[4 * i + 3] = 255;
  }
  const small = document.createElement("canvas");
  small.width = data.columns;
  small.height = data.rows;
  small.getContext("2d").putImageData(picture, 0, 0);
  return small;
}

function wholeLines(instance) {
  const { data, gone } = instance;
  const rows = [];
  const columns = [];
  if (!gone) return { rows, columns };
  for (let r = 0; r < data.rows; r += 1) {
    if (gone.subarray(r * data.columns, (r + 1) * data.columns).every((x) => x === 255)) rows.push(r);
  }
  for (let c = 0; c < data.columns; c += 1) {
    let all = true;
    for (let r = 0; r < data.rows && all; r += 1) all = gone[r * data.columns + c] === 255;
    if (all) columns.push(c);
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

function indexTicks(total, pixels, apart) {
  const wanted = Math.max(1, Math.floor(pixels / apart));
  const raw = total / wanted;
  const power = 10 ** Math.floor(Math.log10(Math.max(1, raw)));
  const step = [1, 2, 5, 10].map((f) => f * power).find((s) => s >= raw) || power * 10;
  const found = [];
  for (let i = 0; i < total; i += step) found.push(i);
  return found;
}

function draw(instance) {
  const { data, root, width } = instance;
  const canvas = root.querySelector("canvas");
  const ratio = window.devicePixelRatio || 1;
  const height = data.height;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  const style = getComputedStyle(root);
  const text = style.color;
  const box = {
    x: EDGE.left, y: EDGE.top,
    width: width - EDGE.left - EDGE.right, height: height - EDGE.top - EDGE.bottom,
  };
  instance.box = box;
  const background = rgbOf(context, style.getPropertyValue("--st-background-color").trim());
  context.imageSmoothingEnabled = false;
  context.drawImage(raster(instance, background), box.x, box.y, box.width, box.height);

  context.font = `11.5px ${style.fontFamily}`;
  context.fillStyle = text;
  context.textBaseline = "middle";
  context.textAlign = "right";
  for (const i of indexTicks(data.n_out, box.height, 44)) {
    context.fillText(String(i), box.x - 12, box.y + ((i + 0.5) / data.n_out) * box.height);
  }
  context.textAlign = "center";
  for (const i of indexTicks(data.n_in, box.width, 64)) {
    context.fillText(String(i), box.x + ((i + 0.5) / data.n_in) * box.width, box.y + box.height + 11);
  }
  context.fillText(data.x_title, box.x + box.width / 2, height - 7);
  context.save();
  context.translate(7, box.y + box.height / 2);
  context.rotate(-Math.PI / 2);
  context.fillText(data.y_title, 0, 0);
  context.restore();
  drawScale(context, data, box, width);

  context.strokeStyle = style.getPropertyValue("--pruned");
  context.lineWidth = 1.4;
  const lines = wholeLines(instance);
  const size = (step) => Math.max(1, Math.min(3, step / 2 - 0.5));
  const down = box.height / data.rows;
  const across = box.width / data.columns;
  for (const r of lines.rows) cross(context, box.x - 5, box.y + (r + 0.5) * down, size(down));
  for (const c of lines.columns) cross(context, box.x + (c + 0.5) * across, box.y - 6, size(across));
}

function drawScale(context, data, box, width) {
  const x = width - EDGE.right + 16;
  for (let i = 0; i < box.height; i += 1) {
    context.fillStyle = `rgb(${colourOf(1 - i / box.height).map(Math.round).join(",")})`;
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

function read(instance, event) {
  const { data, box, cells, gone, root } = instance;
  const bounds = root.querySelector("canvas").getBoundingClientRect();
  const column = Math.floor(((event.clientX - bounds.left - box.x) / box.width) * data.columns);
  const row = Math.floor(((event.clientY - bounds.top - box.y) / box.height) * data.rows);
  const inside = column >= 0 && column < data.columns && row >= 0 && row < data.rows;
  if (!inside) {
    root.querySelector(".readout").textContent = data.hint;
    return;
  }
  const span = (index, blocks, total) => {
    const first = Math.floor((index * total) / blocks);
    const last = Math.floor(((index + 1) * total) / blocks) - 1;
    return last > first ? `${first} to ${last}` : String(first);
  };
  const place = row * data.columns + column;
  const left = gone && gone[place] > 0
    ? (gone[place] === 255 ? ", leaves" : `, ${Math.round(gone[place] / 2.55)} % leave`) : "";
  root.querySelector(".readout").textContent =
    `output ${span(row, data.rows, data.n_out)}, input ${span(column, data.columns, data.n_in)}: ` +
    `${formatScore(cells[place])}${left}`;
}

export default function ({ data, parentElement }) {
  let instance = instances.get(parentElement);
  if (!instance) {
    const root = parentElement.querySelector(".heatmap");
    instance = { root, width: Math.round(root.clientWidth) || 560 };
    instances.set(parentElement, instance);
    const canvas = root.querySelector("canvas");
    canvas.addEventListener("pointermove", (event) => read(instance, event));
    canvas.addEventListener("pointerleave", () => {
      root.querySelector(".readout").textContent = instance.data.hint;
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
  instance.data = data;
  instance.cells = decode(data.cells, Float32Array);
  instance.gone = data.gone ? decode(data.gone, Uint8Array) : null;
  const root = instance.root;
  root.querySelector("figcaption").textContent = data.title;
  root.querySelector(".readout").textContent = data.hint;
  root.querySelector("canvas").setAttribute("aria-label", data.alt);
  paint(root);
  draw(instance);
  return () => {
    instance.observer.disconnect();
    instances.delete(parentElement);
  };
}
