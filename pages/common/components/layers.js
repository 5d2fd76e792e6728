// The table of prunable layers: search, sort, select a row, pin a layer. A real HTML table, so that
// screen readers and the keyboard find their way; names are only ever set as text.
const instances = new WeakMap();
const COLUMNS = [
  { key: "pin", title: "Pin", help: "A pinned layer stays as it is when the global setting moves" },
  { key: "name", title: "Layer", sort: (row) => row.index },
  { key: "unit", title: "Unit", sort: (row) => row.unit },
  { key: "kept", title: "Kept / total", right: true, sort: (row) => row.total },
  { key: "ratio", title: "Pruned", right: true, sort: (row) => row.removed / row.total },
  { key: "threshold", title: "Threshold", right: true, sort: (row) => row.threshold },
  { key: "params", title: "Parameters", right: true, sort: (row) => row.params[0] },
  { key: "macs", title: "MACs", right: true, sort: (row) => row.macs[0] },
  { key: "coupled", title: "Shrinks with", sort: (row) => row.coupled.length },
];

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function change(pair) {
  const box = element("span", "change");
  box.title = `${pair[0].toLocaleString("en")} before, ${pair[1].toLocaleString("en")} after`;
  if (pair[0] === pair[1]) {
    box.append(element("span", "now", formatCount(pair[0])));
  } else {
    box.append(element("span", "was", formatCount(pair[0]) + " → "));
    box.append(element("span", "now less", formatCount(pair[1])));
  }
  return box;
}

function share(row) {
  const box = element("span", "share");
  const bar = element("span", "bar");
  const fill = element("span", "fill");
  fill.style.width = `${(100 * row.removed) / row.total}%`;
  bar.append(fill);
  box.append(bar, element("span", "value", formatPercent(row.removed / row.total)));
  return box;
}

function pinBox(instance, row) {
  const box = element("input");
  box.type = "checkbox";
  box.checked = row.pinned;
  box.setAttribute("aria-label", `Pin ${row.name}`);
  box.addEventListener("click", (event) => event.stopPropagation());
  box.addEventListener("change", () => {
    instance.send("pin", { name: row.name, pinned: box.checked });
  });
  return box;
}

function nameButton(instance, row) {
  const button = element("button", "name", row.label);
  button.type = "button";
  button.title = row.label;
  button.addEventListener("click", (event) => {
    event.stopPropagation();
    instance.send("select", { name: row.name });
  });
  const box = element("span", "names");
  box.append(button);
  if (row.own) {
    const mark = element("span", "own", "own setting");
    mark.title = "This layer does not follow the global setting";
    box.append(mark);
  }
  return box;
}

function cells(instance, row) {
  return {
    pin: pinBox(instance, row),
    name: nameButton(instance, row),
    unit: element("span", "", row.unit),
    kept: element("span", "", `${(row.total - row.removed).toLocaleString("en")} / ${row.total.toLocaleString("en")}`),
    ratio: share(row),
    threshold: element("span", "", formatScore(row.threshold)),
    params: change(row.params),
    macs: change(row.macs),
    coupled: coupledText(row),
  };
}

function coupledText(row) {
  const box = element("span", "coupled", row.coupled.length ? row.coupled.join(", ") : "—");
  box.title = row.coupled.join(", ");
  return box;
}

function visibleRows(instance) {
  const wanted = instance.search.toLowerCase();
  const rows = instance.data.rows.filter(
    (row) => !wanted || `${row.label} ${row.unit} ${row.kinds}`.toLowerCase().includes(wanted),
  );
  const column = COLUMNS.find((candidate) => candidate.key === instance.sort.key);
  const sign = instance.sort.down ? -1 : 1;
  return rows.sort((a, b) => {
    const [left, right] = [column.sort(a), column.sort(b)];
    return sign * (left < right ? -1 : left > right ? 1 : a.index - b.index);
  });
}

function drawHead(instance) {
  const line = element("tr");
  for (const column of COLUMNS) {
    const cell = element("th", column.right ? "right" : "col-" + column.key);
    cell.scope = "col";
    if (column.help) cell.title = column.help;
    if (column.sort) {
      const active = instance.sort.key === column.key;
      const title = instance.data[column.key + "_title"] || column.title;
      const button = element("button", "sort", title);
      button.type = "button";
      button.append(element("span", "mark", active ? (instance.sort.down ? "▾" : "▴") : ""));
      cell.setAttribute("aria-sort", active ? (instance.sort.down ? "descending" : "ascending") : "none");
      button.addEventListener("click", () => {
        instance.sort = { key: column.key, down: active ? !instance.sort.down : column.right === true };
        draw(instance);
      });
      cell.append(button);
    } else {
      cell.textContent = column.title;
    }
    line.append(cell);
  }
  instance.root.querySelector("thead").replaceChildren(line);
}

function draw(instance) {
  const { data, root } = instance;
  const active = root.getRootNode().activeElement;
  const focused = active && active.dataset ? active.dataset.focus : undefined;
  drawHead(instance);
  const rows = visibleRows(instance);
  const lines = rows.map((row) => {
    const line = element("tr", row.name === data.selected ? "selected" : "");
    if (row.name === data.selected) line.setAttribute("aria-current", "true");
    const made = cells(instance, row);
    made.pin.dataset.focus = "pin " + row.name;
    made.name.querySelector("button").dataset.focus = "name " + row.name;
    for (const column of COLUMNS) {
      const cell = element("td", column.right ? "right" : "col-" + column.key);
      cell.append(made[column.key]);
      line.append(cell);
    }
    line.addEventListener("click", () => instance.send("select", { name: row.name }));
    return line;
  });
  if (lines.length === 0) {
    const cell = element("td", "empty", "No layer matches the search.");
    cell.colSpan = COLUMNS.length;
    const line = element("tr");
    line.append(cell);
    lines.push(line);
  }
  root.querySelector("tbody").replaceChildren(...lines);
  root.querySelector(".shown").textContent =
    rows.length === data.rows.length
      ? `${rows.length} ${rows.length === 1 ? "layer" : "layers"}`
      : `${rows.length} of ${data.rows.length} layers`;
  if (focused) {
    for (const candidate of root.querySelectorAll("[data-focus]")) {
      if (candidate.dataset.focus === focused) candidate.focus({ preventScroll: true });
    }
  }
}

export default function ({ data, parentElement, setTriggerValue }) {
  let instance = instances.get(parentElement);
  if (!instance) {
    const root = parentElement.querySelector(".layers");
    instance = { root, search: "", sort: { key: "name", down: false } };
    instances.set(parentElement, instance);
    const field = root.querySelector("input[type=search]");
    field.addEventListener("input", () => {
      instance.search = field.value;
      draw(instance);
    });
  }
  instance.send = setTriggerValue;
  instance.data = data;
  paint(instance.root);
  draw(instance);
  return () => instances.delete(parentElement);
}
