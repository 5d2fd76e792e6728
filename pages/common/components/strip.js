// The savings strip: before, after and ratio of each quantity. While a threshold is dragged, the
// threshold component announces exact totals on the window and this strip shows them at once.
const instances = new WeakMap();

function cell(tag, className, text) {
  const element = document.createElement(tag);
  element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function quantity(item) {
  const box = cell("div", "item");
  const head = cell("div", "head");
  head.append(cell("span", "label", item.label));
  const badge = cell("span", "badge " + item.badge.toLowerCase(), item.badge);
  badge.title = item.badge_help;
  head.append(badge);
  const line = cell("div", "line");
  const parts = {
    before: cell("span", "before"),
    arrow: cell("span", "arrow", "→"),
    after: cell("span", "after"),
    ratio: cell("span", "ratio"),
  };
  line.append(parts.before, parts.arrow, parts.after, parts.ratio);
  box.append(head, line);
  return { box, parts, item };
}

function show(entry, after) {
  const { item, parts } = entry;
  if (item.text) {
    parts.before.textContent = item.text.before;
    parts.after.textContent = item.text.after;
    parts.ratio.textContent = item.text.note;
    parts.arrow.textContent = item.text.before ? "→" : "";
    return;
  }
  const write = item.unit === "bytes" ? formatSize : formatCount;
  parts.before.textContent = write(item.before);
  parts.after.textContent = write(after);
  parts.ratio.textContent = formatReduction(item.before, after) +
    (after < item.before ? " smaller" : "");
  entry.box.title = `${item.before.toLocaleString("en")} to ${after.toLocaleString("en")}` +
    (item.unit === "bytes" ? " bytes" : "");
  entry.box.classList.toggle("changed", after !== item.before);
}

// Model, layer and run belong into the address; replacing it keeps the way back short.
function writeAddress(wanted) {
  const url = new URL(window.location.href);
  for (const [name, value] of Object.entries(wanted)) {
    if (value) url.searchParams.set(name, value); else url.searchParams.delete(name);
  }
  if (url.href !== window.location.href) window.history.replaceState(window.history.state, "", url);
}

export default function ({ data, parentElement }) {
  let instance = instances.get(parentElement);
  if (!instance) {
    instance = { entries: [] };
    instance.listen = (event) => {
      for (const entry of instance.entries) {
        if (!entry.item.key) continue;
        const live = event.detail ? event.detail[entry.item.key] : undefined;
        show(entry, live === undefined ? entry.item.after : live);
      }
    };
    window.addEventListener("pruning-studio:preview", instance.listen);
    instances.set(parentElement, instance);
  }
  writeAddress(data.address);
  const root = parentElement.querySelector(".strip");
  root.dataset.updates = String(1 + Number(root.dataset.updates || 0));
  instance.entries = data.items.map(quantity);
  for (const entry of instance.entries) show(entry, entry.item.after);
  root.replaceChildren(...instance.entries.map((entry) => entry.box));
  return () => {
    window.removeEventListener("pruning-studio:preview", instance.listen);
    instances.delete(parentElement);
  };
}
