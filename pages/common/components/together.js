// What leaves with a unit, layer by layer, and why: the last link of the path is shown, the path
// itself opens. Names come from files and are set as text.
const MANY = 10;
const instances = new WeakMap();

function why(entry) {
  const cell = element("td", "why");
  if (!entry.steps.length) {
    cell.append(element("span", "origin", entry.origin));
    return cell;
  }
  const last = entry.steps[entry.steps.length - 1];
  if (entry.steps.length === 1) {
    cell.append(element("span", "", last));
    return cell;
  }
  const details = element("details", "");
  const summary = element("summary", "", last);
  summary.append(element("span", "count", `step ${entry.steps.length} of ${entry.steps.length}`));
  const list = element("ol", "path");
  for (const step of entry.steps) list.append(element("li", "", step));
  details.append(summary, list);
  cell.append(details);
  return cell;
}

function row(item) {
  return item.entries.map((entry, place) => {
    const line = element("tr", place === 0 ? "first" : "");
    if (place === 0) {
      const head = element("th", "layer");
      head.scope = "row";
      head.rowSpan = item.entries.length;
      head.append(element("span", "name", item.layer), element("span", "kind", item.kind));
      line.append(head);
    }
    const slices = element("td", "slices");
    for (const slice of entry.slices) {
      const part = element("div", "slice");
      part.append(element("code", "", slice.place), element("span", "share", slice.share));
      slices.append(part);
    }
    line.append(slices, why(entry));
    return line;
  });
}

function draw(instance) {
  const { data, root } = instance;
  const search = root.querySelector("input");
  const wanted = search.value.trim().toLowerCase();
  const found = data.rows.filter((item) => item.layer.toLowerCase().includes(wanted));
  root.querySelector("tbody").replaceChildren(...found.flatMap(row));
  root.querySelector(".shown").textContent = found.length === data.rows.length
    ? "" : `${found.length} of ${data.rows.length} layers`;
}

export default function ({ data: bytes, parentElement }) {
  const data = unpacked(bytes);
  const root = parentElement.querySelector(".together");
  let instance = instances.get(root);
  if (!instance) {
    instance = { root };
    instances.set(root, instance);
    root.querySelector("input").addEventListener("input", () => draw(instance));
  }
  const written = JSON.stringify(data);
  if (instance.written === written) return undefined;
  instance.written = written;
  instance.data = data;
  root.querySelector(".tools").hidden = data.rows.length <= MANY;
  root.querySelector("table").setAttribute("aria-label", data.alt);
  const header = element("tr", "");
  for (const title of data.titles) {
    const cell = element("th", "", title);
    cell.scope = "col";
    header.append(cell);
  }
  root.querySelector("thead").replaceChildren(header);
  draw(instance);
  return undefined;
}
