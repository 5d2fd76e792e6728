// The units of a layer as tiles: one button a unit, its score as a bar. A click looks at a unit, or
// keeps, prunes or frees it, whichever is chosen above; dragging over tiles does that to all of them.
// Picks are collected for a moment and sent together. While a threshold is dragged, tiles follow.
const ACTS = [
  ["look", "look at it", "Shows why the unit goes or stays, and what goes with it (Enter)"],
  ["keep", "keep it", "The unit stays, whatever its score (key K)"],
  ["prune", "prune it", "The unit goes, whatever its score (key P)"],
  ["auto", "auto", "Leaves it to its score: takes a pick back (key A)"],
];
const SENT_AFTER = 250;
const instances = new WeakMap();

function buildTools(instance) {
  const tools = instance.root.querySelector(".tools");
  tools.replaceChildren(element("span", "lead", "A click on a tile:"));
  const group = element("div", "acts");
  group.setAttribute("role", "radiogroup");
  group.setAttribute("aria-label", "What a click on a tile does");
  ACTS.forEach(([key, title, help]) => {
    const button = element("button", `act ${key}`, title);
    button.type = "button";
    button.title = help;
    button.setAttribute("role", "radio");
    button.addEventListener("click", () => choose(instance, key));
    button.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const place = ACTS.findIndex(([act]) => act === key);
      const next = ACTS[(place + step + ACTS.length) % ACTS.length][0];
      choose(instance, next);
      group.querySelector(`.${next}`).focus();
    });
    group.append(button);
  });
  tools.append(group);
  choose(instance, instance.act);
}

function choose(instance, act) {
  instance.act = act;
  for (const button of instance.root.querySelectorAll(".act")) {
    const chosen = button.classList.contains(act);
    button.setAttribute("aria-checked", String(chosen));
    button.tabIndex = chosen ? 0 : -1;
  }
  instance.root.querySelector(".tiles").classList.toggle("brush", act !== "look");
}

function buildTiles(instance) {
  const { data, root } = instance;
  const grid = root.querySelector(".tiles");
  const { unit } = data.tiles;
  grid.style.setProperty("--tile", `${tileWidth(data)}px`);
  grid.setAttribute("aria-label", data.alt);
  const listed = JSON.stringify([data.site, data.tiles.unit, data.tiles.score]);
  if (listed === instance.listed) {
    markSelected(instance);
    follow(instance);
    return;
  }
  instance.listed = listed;
  while (grid.children.length > unit.length) grid.lastChild.remove();
  while (grid.children.length < unit.length) {
    const tile = element("button", "tile");
    tile.type = "button";
    tile.setAttribute("role", "option");
    tile.append(element("span", "number"), element("span", "well"), element("span", "flag"));
    tile.querySelector(".well").append(element("span", "bar"));
    grid.append(tile);
  }
  instance.active = Math.max(0, Math.min(instance.active, unit.length - 1));
  unit.forEach((number, place) => {
    const tile = grid.children[place];
    tile.dataset.unit = String(number);
    tile.querySelector(".number").textContent = data.names.length ? data.names[number] : String(number);
    tile.tabIndex = place === instance.active ? 0 : -1;
    tile.querySelector(".bar").style.height = `${100 * rise(data, data.tiles.score[place])}%`;
  });
  instance.shown = [];
  markSelected(instance);
  follow(instance);
}

// Mark the unit that is looked at.
function markSelected(instance) {
  const { data, root } = instance;
  [...root.querySelector(".tiles").children].forEach((tile, place) => {
    const isHere = data.tiles.unit[place] === data.selected;
    if (tile.classList.contains("selected") === isHere && tile.hasAttribute("aria-selected")) return;
    tile.setAttribute("aria-selected", String(isHere));
    tile.classList.toggle("selected", isHere);
  });
}

function tileWidth(data) {
  if (data.names.length) return 190;
  const digits = String(Math.max(0, ...data.tiles.unit)).length;
  if (data.tiles.unit.length <= 24) return 58;
  return Math.max(data.tiles.unit.length <= 160 ? 36 : 28, 10 + 7 * digits);
}

function rise(data, score) {
  const floor = data.low >= 0 ? 0 : data.low;
  return data.high > floor ? Math.max(0.02, (score - floor) / (data.high - floor)) : 1;
}

function dress(instance, place, stays, pick) {
  const { data } = instance;
  const look = `${stays} ${pick}`;
  if (instance.shown[place] === look) return;
  instance.shown[place] = look;
  const tile = instance.root.querySelector(".tiles").children[place];
  tile.classList.toggle("goes", !stays);
  tile.classList.toggle("picked", pick !== 0);
  tile.querySelector(".flag").textContent = pick === 1 ? "▲" : pick === 2 ? "▼" : "";
  const name = data.names.length ? data.names[data.tiles.unit[place]] : data.tiles.unit[place];
  const words = `${data.word} ${name}: score ${formatScore(data.tiles.score[place])}, ` +
    `${stays ? "stays" : "pruned"}` +
    ["", ", picked by hand to stay", ", picked by hand to go"][pick];
  tile.setAttribute("aria-label", words);
  tile.title = words;
}

// A threshold on its way: what scores below it will go, unless it was picked.
function follow(instance) {
  const { data, moving } = instance;
  const here = moving && moving.site === data.site;
  data.tiles.unit.forEach((_, place) => {
    const pick = data.tiles.pick[place];
    const stays = !here || pick !== 0
      ? data.tiles.keep[place] === 1 : data.tiles.score[place] >= moving.threshold;
    dress(instance, place, stays, pick);
  });
}

const CODE = { auto: 0, keep: 1, prune: 2 };

function pick(instance, place, act) {
  const { data } = instance;
  if (!data.pickable || data.tiles.pick[place] === CODE[act]) return;
  data.tiles.pick[place] = CODE[act];
  if (act !== "auto") data.tiles.keep[place] = act === "keep" ? 1 : 0;
  dress(instance, place, data.tiles.keep[place] === 1, CODE[act]);
  instance.wishes.set(data.tiles.unit[place], act);
}

function sendPicks(instance) {
  clearTimeout(instance.timer);
  if (!instance.wishes.size) return;
  const sent = { action: "pick", site: instance.data.site, keep: [], prune: [], auto: [] };
  for (const [unit, act] of instance.wishes) sent[act].push(unit);
  instance.wishes.clear();
  instance.outbox.send(sent);
}

function sendSoon(instance) {
  clearTimeout(instance.timer);
  instance.timer = setTimeout(() => sendPicks(instance), SENT_AFTER);
}

function act(instance, place) {
  if (instance.act === "look") {
    const unit = instance.data.tiles.unit[place];
    if (unit !== instance.data.selected) {
      instance.outbox.send({ action: "look", site: instance.data.site, unit });
    }
  } else {
    pick(instance, place, instance.act);
  }
}

function activate(instance, place, focus) {
  const grid = instance.root.querySelector(".tiles");
  if (place < 0 || place >= grid.children.length) return;
  grid.children[instance.active].tabIndex = -1;
  instance.active = place;
  grid.children[place].tabIndex = 0;
  if (focus) grid.children[place].focus();
}

function onKey(instance, event) {
  const grid = instance.root.querySelector(".tiles");
  const columns = getComputedStyle(grid).gridTemplateColumns.split(" ").length;
  const last = grid.children.length - 1;
  const moves = {
    ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, Home: -last, End: last,
  };
  const wish = { k: "keep", p: "prune", a: "auto" }[event.key.toLowerCase()];
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (moves[event.key] !== undefined) {
    event.preventDefault();
    const next = instance.active + moves[event.key];
    const isJump = event.key === "Home" || event.key === "End";
    activate(instance, isJump ? Math.max(0, Math.min(last, next)) : next, true);
  } else if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    act(instance, instance.active);
    sendSoon(instance);
  } else if (wish) {
    event.preventDefault();
    pick(instance, instance.active, wish);
    sendSoon(instance);
  }
}

function placeUnder(instance, event) {
  const found = instance.root.getRootNode().elementFromPoint(event.clientX, event.clientY);
  const tile = found && found.closest(".tile");
  return tile ? [...tile.parentElement.children].indexOf(tile) : -1;
}

function listen(instance) {
  const grid = instance.root.querySelector(".tiles");
  grid.addEventListener("keydown", (event) => onKey(instance, event));
  grid.addEventListener("focusin", (event) => {
    const tile = event.target.closest(".tile");
    if (tile) activate(instance, [...grid.children].indexOf(tile), false);
  });
  grid.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    const place = placeUnder(instance, event);
    if (place < 0) return;
    activate(instance, place, true);
    if (instance.act === "look") return;
    instance.brushing = true;
    act(instance, place);
  });
  grid.addEventListener("pointermove", (event) => {
    const place = instance.brushing ? placeUnder(instance, event) : -1;
    if (place >= 0) act(instance, place);
  });
  grid.addEventListener("click", (event) => {
    const tile = event.target.closest(".tile");
    // Assistive technology clicks without a pointer, so nothing was brushed.
    if (!tile || (instance.act !== "look" && event.detail !== 0)) return;
    act(instance, [...grid.children].indexOf(tile));
    sendSoon(instance);
  });
  instance.release = () => {
    if (instance.brushing) sendSoon(instance);
    instance.brushing = false;
  };
  window.addEventListener("pointerup", instance.release);
  window.addEventListener("pointercancel", instance.release);
  instance.onPreview = (event) => {
    instance.moving = event.detail;
    follow(instance);
  };
  window.addEventListener("pruning-studio:preview", instance.onPreview);
}

function sum(list) {
  return list.reduce((total, item) => total + item, 0);
}

function legend(instance) {
  const { data } = instance;
  const box = instance.root.querySelector(".legend");
  const shown = data.tiles.unit.length;
  const entries = [
    ["kept", `${(shown - sum(data.tiles.keep.map((k) => 1 - k))).toLocaleString("en")} stay`],
    ["gone", `${sum(data.tiles.keep.map((k) => 1 - k)).toLocaleString("en")} pruned`],
  ];
  const picked = data.tiles.pick.filter((code) => code !== 0).length;
  if (picked) entries.push(["hand", `${picked.toLocaleString("en")} picked by hand (▲ stays, ▼ goes)`]);
  box.replaceChildren(...entries.map(([kind, text]) => {
    const entry = element("span", `entry ${kind}`);
    if (kind !== "hand") entry.append(element("span", "swatch"));
    entry.append(text);
    return entry;
  }));
}

export default function ({ data: bytes, parentElement, setTriggerValue }) {
  const data = unpacked(bytes);
  const root = parentElement.querySelector(".units");
  let instance = instances.get(root);
  if (!instance) {
    instance = { root, act: "look", active: 0, wishes: new Map(), moving: null, outbox: new Outbox() };
    instances.set(root, instance);
    buildTools(instance);
    listen(instance);
  }
  const moved = instance.data && instance.data.site !== data.site;
  instance.outbox.receive(setTriggerValue, data.done);
  if (moved) sendPicks(instance);
  instance.data = data;
  instance.moving = null;
  if (moved) {
    instance.active = 0;
    instance.root.querySelector(".tiles").scrollTop = 0;
  }
  // Picks that were made while the server worked are not forgotten.
  for (const [unit, wish] of instance.wishes) {
    const place = data.tiles.unit.indexOf(unit);
    if (place >= 0) data.tiles.pick[place] = CODE[wish];
  }
  const tools = instance.root.querySelector(".tools");
  tools.hidden = !data.pickable;
  if (!data.pickable) instance.act = "look";
  instance.root.querySelector(".hint").textContent = data.hint;
  paint(instance.root);
  buildTiles(instance);
  legend(instance);
  return whenGone(root, () => {
    clearTimeout(instance.timer);
    instance.outbox.close();
    window.removeEventListener("pointerup", instance.release);
    window.removeEventListener("pointercancel", instance.release);
    window.removeEventListener("pruning-studio:preview", instance.onPreview);
  });
}
