// A histogram of scores with a threshold to drag. While it is dragged nothing is sent: the counts
// and the totals of the whole model come from a table of exact positions that the server made. On
// release the position is sent once; the server resolves the plan anew and its count must agree.
const SVG = "http://www.w3.org/2000/svg";
const EDGE = { left: 58, right: 14, top: 16, bottom: 40 };
const instances = new WeakMap();

function node(name, attributes, parent) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (parent) parent.append(element);
  return element;
}

function label(parent, text, attributes) {
  const element = node("text", attributes, parent);
  element.textContent = text;
  return element;
}

function niceStep(span, wanted) {
  const raw = span / Math.max(1, wanted);
  const power = 10 ** Math.floor(Math.log10(raw));
  const factor = [1, 2, 2.5, 5, 10].find((candidate) => candidate * power >= raw);
  return factor * power;
}

function ticks(low, high, wanted) {
  const step = niceStep(high - low, wanted);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i += 1) {
    found.push(i * step);
  }
  return found;
}

function positionOf(data, removed) {
  const counts = data.positions.n_removed;
  let best = 0;
  for (let p = 0; p < counts.length; p += 1) {
    if (Math.abs(counts[p] - removed) < Math.abs(counts[best] - removed)) best = p;
  }
  return best;
}

function positionAt(data, score) {
  const thresholds = data.positions.threshold;
  let low = 0;
  let high = thresholds.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (thresholds[middle] <= score) low = middle; else high = middle - 1;
  }
  // Equal thresholds are one place on the axis: take the first, so that the tied units stay.
  while (low > 0 && thresholds[low - 1] === thresholds[low]) low -= 1;
  return low;
}

function totalsAt(data, position) {
  const totals = { site: data.site, threshold: data.positions.threshold[position] };
  for (const key of ["params", "nonzero", "macs", "n_bytes"]) {
    totals[key] = data.positions[key][position];
  }
  return totals;
}

function announce(totals) {
  window.dispatchEvent(new CustomEvent("pruning-studio:preview", { detail: totals }));
}

// Everything that depends on data and width only.
function draw(instance) {
  const { data, root, width } = instance;
  const height = data.height;
  const svg = root.querySelector("svg");
  svg.replaceChildren();
  svg.style.height = `${height}px`;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const inner = { width: width - EDGE.left - EDGE.right, height: height - EDGE.top - EDGE.bottom };
  const low = data.edges[0];
  const high = data.edges[data.edges.length - 1];
  instance.toX = (score) => EDGE.left + ((score - low) / (high - low)) * inner.width;
  instance.toScore = (x) => low + ((x - EDGE.left) / inner.width) * (high - low);
  const most = data.curve ? 1 : Math.max(1, ...data.counts);
  const rise = (n) => (data.log ? Math.log10(1 + n) / Math.log10(1 + most) : n / most);
  const toY = (n) => EDGE.top + inner.height * (1 - rise(n));
  const floor = EDGE.top + inner.height;
  instance.toY = toY;

  const definitions = node("defs", {}, svg);
  const hatch = node("pattern", {
    id: "hatch", width: 6, height: 6, patternUnits: "userSpaceOnUse",
    patternTransform: "rotate(45)",
  }, definitions);
  node("rect", { width: 6, height: 6, class: "pruned-ground" }, hatch);
  node("rect", { width: 2.4, height: 6, class: "pruned-stripe" }, hatch);
  const clip = (id) => node("rect", { y: 0, height, x: 0, width: 0 },
    node("clipPath", { id }, definitions));
  instance.clipPruned = clip("left-of-line");
  instance.clipKept = clip("right-of-line");

  drawGrid(data, svg, width, most, toY);
  if (data.curve) {
    drawCurve(instance, svg, floor, toY);
  } else if (data.gone) {
    const stays = data.counts.map((n, i) => n - data.gone[i]);
    node("path", { d: bars(instance, data.gone, null, floor, toY), class: "pruned" }, svg);
    node("path", { d: bars(instance, stays, data.gone, floor, toY), class: "kept" }, svg);
  } else {
    const free = drawPickedBars(instance, svg, floor, toY);
    const outline = bars(instance, free.counts, free.below, floor, toY);
    node("path", { d: outline, class: "kept", "clip-path": "url(#right-of-line)" }, svg);
    node("path", { d: outline, class: "pruned", "clip-path": "url(#left-of-line)" }, svg);
  }
  node("line", { x1: EDGE.left, x2: width - EDGE.right, y1: floor, y2: floor, class: "axis" }, svg);
  const rug = data.rug.map((score) => `M${instance.toX(score)} ${floor + 1}v5`).join("");
  node("path", { d: rug, class: "rug" }, svg);
  for (const [wish, scores] of Object.entries(data.picked || {})) {
    for (const score of scores) drawPicked(svg, instance.toX(score), floor, wish);
  }
  const places = ticks(low, high, Math.max(3, Math.floor(width / 70)));
  const finest = places.length > 1 ? Math.abs(places[1] - places[0]) : 0;
  const largest = Math.max(...places.map(Math.abs), finest);
  const digits = finest > 0 ? Math.ceil(Math.log10(largest / finest) - 1e-9) + 2 : 3;
  for (const tick of places) {
    label(svg, formatScore(tick, Math.max(3, Math.min(8, digits))), { x: instance.toX(tick), y: floor + 19, class: "tick middle" });
  }
  label(svg, `score of one of the ${data.units} (${data.criterion})`, {
    x: EDGE.left + inner.width / 2, y: height - 4, class: "tick middle title",
  });
  if (isMovable(data)) drawHandle(instance, svg, floor);
}

function isMovable(data) {
  return !data.fixed && !data.on_off;
}

function drawGrid(data, svg, width, most, toY) {
  let steps;
  let text = formatCount;
  if (data.curve) {
    steps = [0.25, 0.5, 0.75, 1];
    text = (share) => `${100 * share} %`;
  } else if (data.log) {
    steps = [1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8].filter((n) => n <= most);
  } else {
    steps = ticks(0, most, 4).filter((n) => Number.isInteger(n) && n > 0);
  }
  for (const n of steps) {
    node("line", { x1: EDGE.left, x2: width - EDGE.right, y1: toY(n), y2: toY(n), class: "grid" }, svg);
    label(svg, text(n), { x: EDGE.left - 11, y: toY(n) + 4, class: "tick end" });
  }
}

// One outline for all bars of a kind; `below` lifts them onto others.
function bars(instance, counts, below, floor, toY) {
  const { edges } = instance.data;
  let outline = "";
  counts.forEach((n, i) => {
    if (n === 0) return;
    const x1 = instance.toX(edges[i]);
    const x2 = instance.toX(edges[i + 1]);
    const gap = x2 - x1 > 6 ? 0.75 : 0;
    const foot = below ? toY(below[i]) : floor;
    const top = Math.min(toY(n + (below ? below[i] : 0)), foot - 1.5);
    outline += `M${x1 + gap} ${foot}V${top}H${x2 - gap}V${foot}Z`;
  });
  return outline;
}

// Units picked by hand do not move with the threshold: they are the foot of the bars.
function drawPickedBars(instance, svg, floor, toY) {
  const { counts, picked_counts: picked } = instance.data;
  if (!picked) return { counts, below: null };
  const both = picked.keep.map((n, i) => n + picked.prune[i]);
  node("path", { d: bars(instance, picked.prune, null, floor, toY), class: "pruned" }, svg);
  node("path", { d: bars(instance, picked.keep, picked.prune, floor, toY), class: "kept" }, svg);
  return { counts: counts.map((n, i) => n - both[i]), below: both };
}

// The share of units below each score, as steps; the area is split where the threshold is.
function drawCurve(instance, svg, floor, toY) {
  const { scores, below } = instance.data.curve;
  const right = instance.width - EDGE.right;
  let line = `M${EDGE.left} ${floor}`;
  scores.forEach((score, i) => {
    line += `H${instance.toX(score)}V${toY(i + 1 < below.length ? below[i + 1] : 1)}`;
  });
  line += `H${right}`;
  const area = `${line}V${floor}Z`;
  node("path", { d: area, class: "kept area", "clip-path": "url(#right-of-line)" }, svg);
  node("path", { d: area, class: "pruned", "clip-path": "url(#left-of-line)" }, svg);
  node("path", { d: line, class: "curve" }, svg);
  instance.guide = node("line", { class: "guide", x1: EDGE.left }, svg);
}

function drawPicked(svg, x, floor, wish) {
  const d = wish === "keep"
    ? `M${x} ${floor - 9}l5 9h-10Z` : `M${x} ${floor}l5 -9h-10Z`;
  const mark = node("path", { d, class: `picked ${wish}` }, svg);
  node("title", {}, mark).textContent = `picked by hand to ${wish === "keep" ? "stay" : "go"}`;
}

function drawHandle(instance, svg, floor) {
  const group = node("g", {
    class: "handle", role: "slider", tabindex: "0", "aria-orientation": "horizontal",
    "aria-label": `Threshold of ${instance.data.layer}`, "aria-valuemin": "0",
    "aria-valuemax": String(instance.data.total),
  }, svg);
  node("rect", { x: -14, y: 0, width: 28, height: floor, class: "grab" }, group);
  node("line", { x1: 0, x2: 0, y1: 8, y2: floor + 6, class: "line" }, group);
  node("rect", { x: -7, y: 1, width: 14, height: 18, rx: 4, class: "knob" }, group);
  node("line", { x1: -2, x2: -2, y1: 6, y2: 14, class: "grip" }, group);
  node("line", { x1: 2, x2: 2, y1: 6, y2: 14, class: "grip" }, group);
  group.addEventListener("keydown", (event) => onKey(instance, event));
  instance.handle = group;
}

// Everything that moves with the threshold: called for every pointer move.
function place(instance, position, x, removed) {
  const { data, root } = instance;
  const threshold = data.positions.threshold[position];
  const line = x === undefined ? instance.toX(threshold) : x;
  const bounded = Math.max(EDGE.left, Math.min(instance.width - EDGE.right, line));
  if (isMovable(data)) {
    instance.handle.setAttribute("transform", `translate(${bounded} 0)`);
    instance.clipPruned.setAttribute("width", String(bounded));
    instance.clipKept.setAttribute("x", String(bounded));
    instance.clipKept.setAttribute("width", String(Math.max(0, instance.width - bounded)));
  }
  const count = removed === undefined ? data.positions.n_removed[position] : removed;
  const totals = totalsAt(data, position);
  const say = (name, text) => { root.querySelector("." + name).textContent = text; };
  say("count", `${count.toLocaleString("en")} of ${data.total.toLocaleString("en")}`);
  say("share", formatPercent(count / data.total));
  say("score", formatScore(threshold));
  say("params", formatCount(data.granularity_removes ? totals.params : totals.nonzero));
  say("macs", data.granularity_removes ? formatCount(totals.macs) : data.before.macs ? formatCount(data.before.macs) : "unknown");
  instance.position = position;
  if (!isMovable(data)) return totals;
  instance.handle.setAttribute("aria-valuenow", String(count));
  instance.handle.setAttribute(
    "aria-valuetext",
    `${count} of ${data.total} ${data.units} pruned, threshold ${formatScore(threshold)}`,
  );
  if (data.curve) {
    const y = String(instance.toY(count / data.total));
    for (const [key, value] of [["x2", bounded], ["y1", y], ["y2", y]]) {
      instance.guide.setAttribute(key, String(value));
    }
  }
  return totals;
}

function commit(instance) {
  const { data, position } = instance;
  const removed = data.positions.n_removed[position];
  if (removed === data.removed) {
    announce(null);
    return;
  }
  instance.pending = removed;
  instance.outbox.send({
    site: data.site,
    n_removed: removed,
    threshold: data.positions.threshold[position],
  });
}

function onKey(instance, event) {
  if (event.key === "Escape" && instance.dragging) {
    instance.dragging = false;
    refresh(instance);
    announce(null);
    return;
  }
  const last = instance.data.positions.n_removed.length - 1;
  const page = Math.max(1, Math.round(last / 10));
  const moves = {
    ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1,
    PageUp: page, PageDown: -page, Home: -last, End: last,
  };
  const move = moves[event.key];
  if (move === undefined) return;
  event.preventDefault();
  const next = Math.max(0, Math.min(last, instance.position + move));
  announce(place(instance, next));
  clearTimeout(instance.timer);
  instance.timer = setTimeout(() => {
    instance.timer = null;
    commit(instance);
  }, 150);
}

function listen(instance) {
  const svg = instance.root.querySelector("svg");
  const follow = (event) => {
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * instance.width;
    const score = instance.toScore(x);
    announce(place(instance, positionAt(instance.data, score), x));
  };
  svg.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !isMovable(instance.data) || instance.dragging) return;
    event.preventDefault();
    svg.setPointerCapture(event.pointerId);
    instance.dragging = true;
    instance.pointer = event.pointerId;
    instance.handle.focus({ preventScroll: true });
    follow(event);
  });
  svg.addEventListener("pointermove", (event) => {
    if (instance.dragging && event.pointerId === instance.pointer) follow(event);
  });
  const release = (event) => {
    if (!instance.dragging || event.pointerId !== instance.pointer) return;
    instance.dragging = false;
    if (event.type === "pointerup") {
      place(instance, instance.position);
      commit(instance);
    } else {
      refresh(instance);
      announce(null);
    }
  };
  svg.addEventListener("pointerup", release);
  svg.addEventListener("pointercancel", release);
  instance.observer = new ResizeObserver(() => {
    const width = Math.round(instance.root.clientWidth);
    if (width > 0 && width !== instance.width && !instance.dragging) {
      instance.width = width;
      refresh(instance);
    }
  });
  instance.observer.observe(instance.root);
}

function refresh(instance) {
  const focused = isMovable(instance.data) && instance.handle && instance.handle.getRootNode().activeElement === instance.handle;
  draw(instance);
  const { data } = instance;
  if (!isMovable(data)) instance.clipKept.setAttribute("width", String(instance.width));
  if (data.fixed) return;
  place(instance, positionOf(data, data.removed), instance.toX(data.threshold), data.removed);
  instance.root.querySelector(".score").textContent = formatScore(data.threshold);
  if (data.on_off) instance.root.querySelector(".score").textContent = "none";
  if (focused) instance.handle.focus({ preventScroll: true });
}

export default function ({ data: bytes, parentElement, setTriggerValue }) {
  const data = unpacked(bytes);
  const root = parentElement.querySelector(".threshold");
  let instance = instances.get(root);
  if (!instance) {
    instance = { root, width: Math.round(root.clientWidth) || 640, dragging: false, pending: null, outbox: new Outbox() };
    instances.set(root, instance);
    instance.data = data;
    listen(instance);
  }
  if (data.done) instance.outbox.receive(setTriggerValue, data.done);
  const moved = instance.data.site !== data.site;
  const wish = instance.data.positions?.n_removed[instance.position];
  instance.data = data;
  const warning = instance.root.querySelector(".warning");
  const differs = !moved && instance.pending !== null && instance.pending !== data.removed;
  warning.textContent = differs
    ? `The preview said ${instance.pending} pruned, the plan holds ${data.removed}.` : "";
  instance.pending = null;
  instance.root.querySelector(".heading").textContent = data.title || "";
  instance.root.querySelector("svg").setAttribute("aria-label", data.alt);
  instance.root.classList.toggle("fixed", data.fixed === true);
  instance.root.classList.toggle("still", !isMovable(data));
  instance.root.querySelector(".units").textContent = data.units + " pruned";
  instance.root.querySelector(".what").textContent =
    data.granularity_removes ? "parameters left" : "non-zeros left";
  paint(instance.root);
  // An answer to an earlier move must not take back a key that is not committed yet.
  if ((instance.dragging || instance.timer) && !moved) {
    instance.position = positionOf(data, wish); // the places of the table have changed
    announce(totalsAt(data, instance.position));
  } else {
    refresh(instance);
    announce(null);
  }
  return whenGone(root, () => {
    clearTimeout(instance.timer);
    instance.outbox.close();
    instance.observer.disconnect();
  });
}
