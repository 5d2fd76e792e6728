// All attention heads of the model: a row a layer, a column a head, coloured by score with the number
// inside; what is pruned is crossed out. A click shows a head; K, P and A pick it.
const CODE = { auto: 0, keep: 1, prune: 2 };
const instances = new WeakMap();

function share(data, score) {
  return data.high > data.low ? (score - data.low) / (data.high - data.low) : 0.5;
}

// As many digits as tell scores apart that lie close together.
function digitsOf(data) {
  const spread = (data.high - data.low) / (Math.abs(data.high) || 1);
  return spread > 0 ? Math.max(3, Math.min(6, Math.ceil(-Math.log10(spread)) + 2)) : 3;
}

function build(instance) {
  const { data, root } = instance;
  const width = Math.max(0, ...data.rows.map((row) => row.score.length));
  const head = element("tr", "");
  head.append(element("th", "corner", data.corner));
  for (let i = 0; i < width; i += 1) {
    const cell = element("th", "", String(i));
    cell.scope = "col";
    head.append(cell);
  }
  root.querySelector("thead").replaceChildren(head);
  instance.cells = [];
  root.querySelector("tbody").replaceChildren(...data.rows.map((row, r) => {
    const line = element("tr", row.site === data.site ? "here" : "");
    const name = element("th", "name", row.site);
    name.scope = "row";
    line.append(name);
    instance.cells.push(row.score.map((score, c) => {
      const cell = element("td", "");
      const button = element("button", "head");
      button.type = "button";
      const colour = colourOf(share(data, score));
      button.style.background = `rgb(${colour.map(Math.round).join(",")})`;
      const light = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 140;
      button.style.color = light ? "#111" : "#fff";
      button.append(element("span", "value", formatScore(score, digitsOf(data))), element("span", "flag"));
      button.dataset.head = `${r},${c}`;
      button.tabIndex = r === instance.at[0] && c === instance.at[1] ? 0 : -1;
      cell.append(button);
      line.append(cell);
      return button;
    }));
    return line;
  }));
  dress(instance);
}

function dress(instance) {
  const { data, moving } = instance;
  data.rows.forEach((row, r) => row.score.forEach((score, c) => {
    const button = instance.cells[r][c];
    const pick = row.pick[c];
    const follows = moving && moving.site === row.site && pick === 0;
    const stays = follows ? score >= moving.threshold : row.keep[c] === 1;
    button.classList.toggle("goes", !stays);
    button.classList.toggle("selected", row.site === data.site && c === data.unit);
    button.querySelector(".flag").textContent = ["", "▲", "▼"][pick];
    const words = `head ${c} of ${row.site}: score ${formatScore(score, Math.max(4, digitsOf(data)))}, ` +
      `${stays ? "stays" : "pruned"}${["", ", picked by hand to stay", ", picked by hand to go"][pick]}`;
    button.setAttribute("aria-label", words);
    button.title = words;
  }));
}

function go(instance, r, c) {
  const row = instance.cells[r];
  if (!row) return;
  const column = Math.max(0, Math.min(row.length - 1, c));
  instance.cells[instance.at[0]][instance.at[1]].tabIndex = -1;
  instance.at = [r, column];
  row[column].tabIndex = 0;
  row[column].focus();
}

function look(instance) {
  const [r, c] = instance.at;
  instance.outbox.send({ action: "look", site: instance.data.rows[r].site, unit: c });
}

function onKey(instance, event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const [r, c] = instance.at;
  const moves = {
    ArrowRight: [r, c + 1], ArrowLeft: [r, c - 1], ArrowDown: [r + 1, c], ArrowUp: [r - 1, c],
    Home: [r, 0], End: [r, Infinity],
  };
  const wish = { k: "keep", p: "prune", a: "auto" }[event.key.toLowerCase()];
  if (moves[event.key]) {
    event.preventDefault();
    go(instance, ...moves[event.key]);
  } else if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    look(instance);
  } else if (wish) {
    event.preventDefault();
    const row = instance.data.rows[r];
    if (row.pick[c] === CODE[wish]) return;
    row.pick[c] = CODE[wish];
    if (wish !== "auto") row.keep[c] = wish === "keep" ? 1 : 0;
    dress(instance);
    instance.wishes.set(`${r},${c}`, { site: row.site, unit: c, wish });
    clearTimeout(instance.timer);
    instance.timer = setTimeout(() => {
      const picks = [...instance.wishes.values()];
      instance.wishes.clear();
      instance.outbox.send({ action: "pick", picks });
    }, 250);
  }
}

function drawScale(instance) {
  const { data, root } = instance;
  root.querySelector(".low").textContent = formatScore(data.low, digitsOf(data));
  root.querySelector(".high").textContent = formatScore(data.high, digitsOf(data));
  root.querySelector(".unit").textContent = `score of a head (${data.criterion})`;
  const stops = CIVIDIS.map((colour) => `rgb(${colour.join(",")})`).join(",");
  root.querySelector(".ramp").style.background = `linear-gradient(to right, ${stops})`;
}

export default function ({ data: bytes, parentElement, setTriggerValue }) {
  const data = unpacked(bytes);
  const root = parentElement.querySelector(".heads");
  let instance = instances.get(root);
  if (!instance) {
    instance = { root, at: [0, 0], cells: [], wishes: new Map(), moving: null, outbox: new Outbox() };
    instances.set(root, instance);
    const body = root.querySelector("tbody");
    body.addEventListener("keydown", (event) => onKey(instance, event));
    body.addEventListener("focusin", (event) => {
      const button = event.target.closest(".head");
      if (!button) return;
      instance.cells[instance.at[0]][instance.at[1]].tabIndex = -1;
      instance.at = button.dataset.head.split(",").map(Number);
      button.tabIndex = 0;
    });
    body.addEventListener("click", (event) => {
      const button = event.target.closest(".head");
      if (!button) return;
      go(instance, ...button.dataset.head.split(",").map(Number));
      look(instance);
    });
    instance.onPreview = (event) => {
      instance.moving = event.detail;
      dress(instance);
    };
    window.addEventListener("pruning-studio:preview", instance.onPreview);
  }
  instance.outbox.receive(setTriggerValue, data.done);
  instance.data = data;
  instance.moving = null;
  const focused = root.contains(root.getRootNode().activeElement);
  if (!data.rows[instance.at[0]] || instance.at[1] >= data.rows[instance.at[0]].score.length) {
    instance.at = [0, 0];
  }
  root.querySelector("table").setAttribute("aria-label", data.alt);
  paint(root);
  build(instance);
  drawScale(instance);
  if (focused) instance.cells[instance.at[0]][instance.at[1]].focus({ preventScroll: true });
  return whenGone(root, () => {
    clearTimeout(instance.timer);
    instance.outbox.close();
    window.removeEventListener("pruning-studio:preview", instance.onPreview);
  });
}
