// The savings strip: before, after and ratio of each quantity. While a threshold is dragged, the
// threshold component announces exact totals on the window and this strip shows them at once; what
// was measured for the plan before is dimmed meanwhile. While something is being measured the strip
// asks the server for it again and again, which costs nothing when nothing is.
const FIRST_MS = 150;
const SOON_MS = 400;
const LATER_MS = 1000;
const STILL_MS = 350;
const instances = new WeakMap();
let lastInput = 0;
for (const kind of ["pointerdown", "pointerup", "keydown", "input", "change"]) {
  window.addEventListener(kind, () => { lastInput = performance.now(); }, { capture: true });
}

// Ctrl+Z takes back a step of the plan, but first what is being typed and is no step yet.
let typed = null;
window.addEventListener("input", (event) => { typed = event.composedPath()[0]; }, { capture: true });
window.addEventListener("change", () => { typed = null; }, { capture: true });
window.addEventListener("keydown", (event) => {
  if (event.key === "Enter") typed = null;
  const undoes = (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z";
  if (undoes && typed === event.composedPath()[0]) event.stopImmediatePropagation();
}, { capture: true });

function quantity(item, instance) {
  const box = element("div", "item");
  const head = element("div", "head");
  const label = element("a", "label", item.label);
  label.href = item.entry;
  label.target = "_blank";
  label.rel = "noopener";
  label.title = `${item.label}: what it means`;
  head.append(label);
  const badge = element("span", "badge " + item.badge.toLowerCase(), item.badge);
  badge.title = item.badge_help;
  head.append(badge);
  const line = element("div", "line");
  if (item.action) {
    const [what, label] = item.action;
    const button = element("button", "", label);
    button.type = "button";
    button.addEventListener("click", () => instance.send("ask", what));
    line.append(button);
  }
  const parts = {
    before: element("span", "before"),
    arrow: element("span", "arrow", "→"),
    after: element("span", "after"),
    ratio: element("span", "ratio"),
  };
  line.append(parts.before, parts.arrow, parts.after);
  const below = element("div", "below");
  parts.detail = element("span", "detail");
  below.append(parts.ratio, parts.detail);
  box.append(head, line, below);
  return { box, parts, item };
}

function show(entry, after) {
  const { item, parts } = entry;
  if (item.text) {
    parts.before.textContent = item.text.before;
    parts.after.textContent = item.text.after;
    parts.ratio.textContent = item.text.note;
    parts.detail.textContent = item.text.detail;
    entry.box.title = item.badge_help;
    parts.arrow.textContent = item.text.before ? "→" : "";
    return;
  }
  const write = item.unit === "bytes" ? formatSize : formatCount;
  parts.before.textContent = write(item.before);
  parts.after.textContent = write(after);
  parts.ratio.textContent = formatReduction(item.before, after) +
    (after < item.before ? " smaller" : "");
  const exact = [item.before, after].map((value) => value.toLocaleString("en"));
  entry.box.title = exact.join(" to ") + (item.unit === "bytes" ? " bytes" : "");
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

function showLive(instance) {
  const { live } = instance;
  for (const entry of instance.entries) {
    if (entry.item.key) {
      const value = live ? live[entry.item.key] : undefined;
      show(entry, value === undefined ? entry.item.after : value);
    } else {
      entry.box.classList.toggle("stale", Boolean(live));
    }
  }
}

// Asking brings the values of all widgets along, so it waits until the person and the page are still:
// a value that is on its way to the browser would otherwise be answered with the one before.
function isStill() {
  const app = document.querySelector("[data-testid=stApp]");
  const runs = app && app.dataset.testScriptState && app.dataset.testScriptState !== "notRunning";
  return !runs && performance.now() - lastInput > STILL_MS;
}

function keepAsking(instance, waits) {
  clearTimeout(instance.timer);
  if (!waits) return;
  let asked = 0;
  const ask = () => {
    if (isStill()) {
      asked += 1;
      instance.send("poll", asked);
      instance.timer = setTimeout(ask, asked < 10 ? SOON_MS : LATER_MS);
    } else {
      instance.timer = setTimeout(ask, STILL_MS / 3);
    }
  };
  instance.timer = setTimeout(ask, FIRST_MS);
}

export default function ({ data: bytes, parentElement, setTriggerValue }) {
  const data = unpacked(bytes);
  const root = parentElement.querySelector(".strip");
  let instance = instances.get(root);
  if (!instance) {
    instance = { entries: [], live: null, timer: 0 };
    instance.listen = (event) => {
      instance.live = event.detail;
      showLive(instance);
    };
    window.addEventListener("pruning-studio:preview", instance.listen);
    instances.set(root, instance);
  }
  instance.send = setTriggerValue;
  writeAddress(data.address);
  const totals = JSON.stringify(data.items.filter((item) => item.key));
  if (totals !== instance.totals) {
    instance.live = null;
    root.dataset.updates = String(1 + Number(root.dataset.updates || 0));
  }
  instance.totals = totals;
  instance.entries = data.items.map((item) => quantity(item, instance));
  for (const entry of instance.entries) show(entry, entry.item.after);
  if (instance.live) showLive(instance);
  const active = root.getRootNode().activeElement;
  const focused = [...root.children].indexOf(active?.closest?.(".item"));
  const inLabel = active?.classList.contains("label");
  root.replaceChildren(...instance.entries.map((entry) => entry.box));
  if (focused >= 0) root.children[focused]?.querySelector(inLabel ? "a" : "button")?.focus();
  keepAsking(instance, data.waits);
  return whenGone(root, () => {
    clearTimeout(instance.timer);
    window.removeEventListener("pruning-studio:preview", instance.listen);
  });
}
