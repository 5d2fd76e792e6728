// The columns of the table of layers: how each is headed, sorted, drawn and written to a file.
// `stamp` says what a cell depends on: a cell whose stamp is the same is left alone.
const QUANTITIES = { params: "Parameters", nonzero: "Non-zeros", macs: "MACs", n_bytes: "Bytes" };
const SETTINGS = {
  global: ["global", "Follows the global setting"],
  own: ["own", "Has a setting of its own, until the global one moves"],
  pinned: ["pinned", "Stays as it is when the global setting moves"],
  spared: ["not pruned", "Loses nothing, whatever the global setting"],
};
const exactly = (value) => value.toLocaleString("en");
const ratioText = (row) => String(Number(((100 * row.removed) / row.total).toFixed(2)));

function svg(tag, attributes, parent) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (parent) parent.append(made);
  return made;
}

// A to Z, then AA, AB, ...: as in pruning_core/figures/ribbons.py.
const letters = (number) => (number < 26 ? "" : letters(Math.floor(number / 26) - 1)) + String.fromCharCode(65 + (number % 26));

// Rows of columns become rows; what only some rows have is looked up by number.
function unpack(data) {
  const { columns, sparse, groups } = data;
  return columns.name.map((name, i) => {
    const row = { i, name, label: name || "(model)", key: columns.role[i] + " " + name };
    for (const key of Object.keys(columns)) row[key] = columns[key][i];
    for (const key of Object.keys(sparse)) row[key] = sparse[key][i];
    const group = groups[row.group];
    row.coupled = group && data.removes ? group.layers.filter((layer) => layer !== name) : [];
    if (group && group.mark >= 0) row.mark = group.mark;
    row.deciding = row.role === "coupled" ? columns.name[row.site] : "";
    row.changed = row.removed > 0 || Object.keys(QUANTITIES).some((key) => saved(row, key) > 0);
    return row;
  });
}

const counts = (row, key) => row[key] !== null && (row[key] > 0 || row[key + "_after"] > 0);
const saved = (row, key) => (row[key] === null ? 0 : row[key] - row[key + "_after"]);
const isSite = (row) => row.role === "site";
const hasUnits = (row) => row.total > 0;

function changeBox(instance, row, key) {
  const box = element("span", "change");
  if (row[key] === null) {
    box.append(element("span", "none", "↑"));
    box.title = "Counted in the row above: both weights belong to the same layer";
    return box;
  }
  const [before, after] = [row[key], row[key + "_after"]];
  const write = key === "n_bytes" ? formatSize : formatCount;
  box.title = `${exactly(before)} before, ${exactly(after)} after`;
  if (before === after) {
    box.append(element("span", before ? "now" : "none", before ? write(before) : "—"));
  } else if (instance.choice.saved) {
    box.append(element("span", "now less", write(after)));
    box.append(element("span", "percent", "−" + formatPercent((before - after) / before)));
  } else {
    box.append(element("span", "was", write(before) + " → "), element("span", "now less", write(after)));
  }
  return box;
}

// Large numbers are rounded here; the exact ones are the title.
const units = (n) => (n < 100_000 ? exactly(n) : formatCount(n));
const keptText = (row) => (hasUnits(row) ? `${units(row.total - row.removed)} / ${units(row.total)}` : "");

function keptBox(row) {
  const box = element("span", "keeps");
  if (!hasUnits(row)) return element("span", "none", "—");
  const bar = element("span", "bar");
  const fill = element("span", "fill");
  fill.style.width = `${(100 * row.removed) / row.total}%`;
  bar.append(fill);
  const kept = row.total - row.removed;
  box.append(element("span", "numbers", keptText(row)), bar);
  box.title = `${exactly(kept)} of ${exactly(row.total)} ${row.unit} stay, ${exactly(row.removed)} go`;
  return box;
}

function groupBox(row, instance) {
  const box = element("span", "groupmark");
  if (row.mark !== undefined) {
    const tick = element("span", "tick");
    tick.style.background = instance.data.ticks[row.mark % instance.data.ticks.length];
    box.append(tick, element("span", "letter", letters(row.mark)));
  }
  if (row.coupled.length) box.append(element("span", "also", `+${row.coupled.length}`));
  if (row.coupled.length) box.title = "Shrinks with " + row.coupled.join(", ");
  else if (row.mark !== undefined) box.title = `Rows marked ${letters(row.mark)} have the same outputs`;
  return box;
}

function settingBox(row) {
  if (row.role === "coupled") {
    const box = element("span", "setting with", row.mark === undefined ? "coupled" : `with ${letters(row.mark)}`);
    box.title = `Leaves together with ${row.deciding}, which decides`;
    return box;
  }
  if (!isSite(row)) return element("span", "none", row.role === "fixed" ? "fixed" : "—");
  const [word, help] = SETTINGS[row.setting];
  const box = element("span", "setting " + row.setting, word);
  box.title = row.wish ? `${help}: ${row.wish}` : help;
  return box;
}

function thresholdBox(row) {
  if (!isSite(row)) return element("span", "none", "—");
  const box = element("span", row.removed ? "" : "quiet", row.threshold_text || formatScore(row.threshold));
  box.title = row.threshold_text ? row.threshold_text
    : row.removed ? `${row.unit} that score below it go` : "Nothing goes: this is the lowest score";
  return box;
}

// Measured accuracies against the ratio, all rows on the same scale; the line is the present ratio.
function sparkline(instance, row) {
  const [ratios, accuracies] = row.sensitivity;
  const [low, high] = instance.accuracies;
  const drawing = svg("svg", { width: 84, height: 22, viewBox: "0 0 84 22", role: "img" });
  const x = (ratio) => 1 + 82 * ratio;
  const y = (accuracy) => 20 - 18 * ((accuracy - low) / (high - low || 1));
  const points = ratios.map((ratio, i) => `${x(ratio).toFixed(1)},${y(accuracies[i]).toFixed(1)}`);
  const now = row.removed / row.total;
  svg("line", { x1: x(now), x2: x(now), y1: 0, y2: 22, class: "present" }, drawing);
  svg("polyline", { points: points.join(" "), class: "curve" }, drawing);
  const { name, percent } = instance.data.metric ?? { name: "accuracy", percent: true };
  const shown = (value) => (percent ? formatPercent(value) : value.toPrecision(4));
  const said = ratios.map((ratio, i) => `${shown(accuracies[i])} at ${formatPercent(ratio)}`);
  const title = `Measured ${name} with only this layer pruned: ` + said.join(", ");
  drawing.setAttribute("aria-label", title);
  svg("title", {}, drawing).textContent = title;
  return drawing;
}

// The largest measured ratio that costs at most one point of accuracy (one percent of perplexity).
function safeRatio(row) {
  if (!row.sensitivity) return -1;
  const [ratios, values, lost = values.map((value) => 100 * (values[0] - value))] = row.sensitivity;
  const safe = ratios.filter((_, i) => lost[i] <= 1 + 1e-9);
  return Math.max(0, ...safe);
}

function timeBox(row) {
  const box = element("span", "change");
  box.append(element("span", "now", formatPercent(row.time)));
  box.title = "Measured share of the time of one forward pass of the dense model";
  return box;
}

const quantity = (key) => ({
  key, title: QUANTITIES[key], width: key === "n_bytes" ? 126 : 108, right: true,
  help: "Exact: before and after the plan",
  sort: (row) => row[key] ?? -1,
  stamp: (row, instance) => `${row[key]} ${row[key + "_after"]} ${instance.choice.saved}`,
  show: (row, instance) => changeBox(instance, row, key),
  file: { [key]: (row) => row[key] ?? "", [key + "_after"]: (row) => row[key + "_after"] ?? "" },
});

const COLUMNS = [
  { key: "prune", title: "Prune", width: 48, always: true, control: true,
    help: "Unticked: the layer loses nothing, whatever the global setting",
    sort: (row) => (isSite(row) ? (row.setting === "spared" ? 1 : 0) : 2),
    file: { pruned: (row) => (isSite(row) ? row.setting !== "spared" : "") } },
  { key: "pin", title: "Pin", width: 38, always: true, control: true,
    help: "A pinned layer stays as it is when the global setting moves",
    sort: (row) => (["pinned", "spared"].includes(row.setting) && isSite(row) ? 0 : 1),
    file: { pinned: (row) => (isSite(row) ? ["pinned", "spared"].includes(row.setting) : "") } },
  { key: "name", title: "Layer", width: 192, always: true, control: true, sort: (row) => row.label,
    file: { layer: (row) => row.label } },
  { key: "kind", title: "Type", width: 70, sort: (row) => row.kind, stamp: (row) => row.kind,
    show: (row) => { const box = element("span", "kind", row.kind); box.title = row.kind; return box; },
    file: { type: (row) => row.kind } },
  { key: "group", title: "Group", width: 58,
    help: "Rows with the same letter share their outputs: those leave together",
    sort: (row) => row.mark ?? 1e9,
    stamp: (row, instance) => `${row.mark} ${row.coupled.length} ${instance.data.ticks}`, show: groupBox,
    file: { group: (row) => (row.mark === undefined ? "" : letters(row.mark)) } },
  { key: "unit", title: "Unit", width: 84, optional: true, sort: (row) => row.unit,
    stamp: (row) => row.unit, show: (row) => element("span", "", row.unit), file: { unit: (row) => row.unit } },
  { key: "kept", title: "Kept / total", width: 68, letters: keptText, right: true, sort: (row) => row.total,
    stamp: (row) => `${row.removed} ${row.total}`, show: keptBox,
    file: { kept: (row) => row.total - row.removed, total: (row) => row.total } },
  { key: "ratio", title: "Pruned %", width: 78, right: true, always: true, control: true,
    help: "Share of the units that go. Type a number; Enter or an arrow key sets it",
    sort: (row) => (hasUnits(row) ? row.removed / row.total : -1),
    file: { pruned_percent: (row) => (hasUnits(row) ? ratioText(row) : "") } },
  { key: "setting", title: "Setting", width: 84, sort: (row) => (isSite(row) ? row.setting : "~"),
    stamp: (row) => `${row.setting} ${row.wish}`, show: settingBox,
    file: { setting: (row) => (isSite(row) ? row.setting : row.deciding && "as " + row.deciding), wish: (row) => row.wish || "" } },
  { key: "threshold", title: "Threshold", width: 74, right: true, sort: (row) => row.threshold,
    stamp: (row) => `${row.threshold} ${row.threshold_text} ${row.removed > 0}`, show: thresholdBox,
    file: { threshold: (row) => (isSite(row) ? row.threshold_text || row.threshold : "") } },
  quantity("params"), quantity("nonzero"), quantity("macs"), quantity("n_bytes"),
  { key: "sensitivity", title: "Sensitivity", width: 104, measured: true, sort: safeRatio,
    help: "Measured: accuracy (or what the task is judged by) against the ratio, with only this layer pruned",
    stamp: (row) => `${row.sensitivity} ${row.removed}`,
    show: (row, instance) => (row.sensitivity ? sparkline(instance, row) : element("span", "none", "—")),
    file: { ratio_within_one_point: (row) => (row.sensitivity ? safeRatio(row) : "") } },
  { key: "time", title: "Time", width: 74, right: true, measured: true, sort: (row) => row.time ?? -1,
    help: "Measured: share of the time of one forward pass",
    stamp: (row) => `${row.time}`,
    show: (row) => (row.time === undefined ? element("span", "none", "—") : timeBox(row)),
    file: { time_share: (row) => row.time ?? "" } },
  { key: "coupled", title: "Shrinks with", width: 220, optional: true, sort: (row) => row.coupled.length,
    stamp: (row) => row.coupled.length,
    show: (row) => { const box = element("span", "kind", row.coupled.join(", ") || "—"); box.title = row.coupled.join(", "); return box; },
    file: { shrinks_with: (row) => row.coupled.join(" ") } },
];

// Which columns are there at first: what the plan can change, and what was measured.
function byDefault(column, data) {
  if (column.measured || column.always) return true;
  if (column.key === "params" || column.key === "n_bytes") return data.removes;
  return !column.optional && !(column.key === "nonzero" && data.removes);
}

const exists = (column, instance) =>
  !column.measured || instance.rows.some((row) => row[column.key] !== undefined);

// Text that starts like a formula would be one in a spreadsheet.
function csvCell(value) {
  const text = String(value ?? "");
  const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? "'" + text : text;
  return /[",\n\r]/.test(safe) ? '"' + safe.replaceAll('"', '""') + '"' : safe;
}

function csv(instance) {
  const fields = COLUMNS.filter((column) => exists(column, instance))
    .flatMap((column) => Object.entries(column.file));
  const lines = [fields.map(([name]) => name)];
  for (const row of instance.rows) lines.push(fields.map(([, read]) => read(row)));
  return lines.map((line) => line.map(csvCell).join(",")).join("\r\n") + "\r\n";
}
