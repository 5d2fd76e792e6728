// The table of layers: search, filter, sort, select, mark several, edit. A real HTML table with the
// keyboard of a grid; only rows in sight exist. Names are only ever set as text.
const instances = new WeakMap();
const ROW_HEIGHT = 34; // as in the style sheet
const FOOT_HEIGHT = 30;
const WHOLE = 60; // up to so many rows all exist
const SPARE = 8; // rows beyond both edges of what is in sight
const STORED = "pruning-studio.layer-columns";
const LARGEST = 99.99;
const HINT = "Click the table or tab to it: numbers set the ratio, Space marks rows, ? lists all keys.";
const FILTERS = {
  prunable: ["Layers with weights", (row) => row.role !== "other"],
  changed: ["Only changed", (row) => row.changed && row.role !== "other"],
  pinned: ["Only pinned", (row) => isSite(row) && row.setting === "pinned"],
  own: ["Only own setting", (row) => isSite(row) && ["own", "pinned"].includes(row.setting)],
  spared: ["Only not pruned", (row) => isSite(row) && row.setting === "spared"],
  noted: ["Only limited wishes", (row) => Boolean(row.notes)],
  all: ["Everything", () => true],
};

const stored = () => {
  try { return JSON.parse(window.localStorage.getItem(STORED)) || {}; } catch { return {}; }
};
const store = (choice) => {
  try { window.localStorage.setItem(STORED, JSON.stringify(choice)); } catch { /* it lasts a page */ }
};
const part = (instance, selector) => instance.root.querySelector(selector);
const focusedIn = (instance) => instance.root.getRootNode().activeElement;
const rowOf = (instance, key) => instance.byKey.get(key);
const columnsOf = (instance) => COLUMNS.filter((column) => exists(column, instance)
  && (column.always || (instance.choice.columns?.[column.key] ?? byDefault(column, instance.data))));

// What a wish for these rows goes to: the sites that decide them, each once.
function sitesOf(instance, rows) {
  const names = rows.filter((row) => row.site >= 0).map((row) => instance.rows[row.site].name);
  return [...new Set(names)];
}

function targets(instance) {
  const keys = instance.marked.size ? [...instance.marked] : [instance.active];
  return keys.map((key) => rowOf(instance, key)).filter(Boolean);
}

// Edits

function send(instance, action, rows, value) {
  const sites = sitesOf(instance, rows);
  if (sites.length === 0) return say(instance, "Nothing can be set there: these layers follow others or cannot shrink.");
  instance.outbox.send({ action, sites, value });
  for (const line of instance.lines.values()) fill(instance, line);
  return true;
}

function parse(text) {
  const typed = text.trim().replace(",", ".").replace(/\s*%$/, "");
  return /^\d*\.?\d+$|^\d+\.$/.test(typed) ? Number(typed) : NaN;
}

// Returns false when the text is no ratio; nothing is sent when it says what is there already.
function commitRatio(instance, rows, text) {
  const value = parse(text);
  if (!(value >= 0 && value <= LARGEST)) {
    say(instance, `“${text.trim().slice(0, 20)}” is no share: type a number from 0 to ${LARGEST}, in per cent.`);
    return false;
  }
  if (rows.length > 1 || text.trim() !== shownRatio(instance, rows[0])) send(instance, "ratio", rows, value);
  return true;
}

// What was asked for last and is not answered yet.
function pendingEdit(instance, row) {
  return instance.outbox.pending.findLast((wish) => wish.sites?.includes(row.name));
}

function shownRatio(instance, row) {
  const edit = pendingEdit(instance, row);
  return edit?.action === "ratio" ? String(edit.value) : ratioText(row);
}

function shownSetting(instance, row) {
  const become = { pin: "pinned", unpin: "own", follow: "global", prune: "global", spare: "spared" };
  const edit = pendingEdit(instance, row);
  return edit ? become[edit.action] || (row.setting === "pinned" ? "pinned" : "own") : row.setting;
}

function say(instance, text) {
  instance.message = text;
  status(instance);
  return false;
}

function status(instance) {
  const row = rowOf(instance, instance.active);
  const line = part(instance, ".status");
  const note = row && row.notes ? `${row.label}: ${row.notes.join(" ")}` : "";
  line.textContent = instance.message || note || HINT;
  line.classList.toggle("hint", !instance.message && !note);
  line.classList.toggle("refused", Boolean(instance.message));
  line.title = line.textContent;
}

// Lines

function checkbox(action) {
  const box = element("input");
  box.type = "checkbox";
  box.tabIndex = -1;
  box.dataset.act = action;
  return box;
}

function makeControl(key) {
  if (key === "prune" || key === "pin") return checkbox(key);
  if (key === "ratio") {
    const box = element("span", "percentfield");
    const field = element("input", "ratio");
    field.inputMode = "decimal";
    field.autocomplete = "off";
    field.tabIndex = -1;
    box.append(field, element("span", "follows"));
    return box;
  }
  const box = element("span", "names");
  const button = element("button", "name");
  button.type = "button";
  button.tabIndex = -1;
  const note = element("button", "note", "i");
  note.type = "button";
  note.tabIndex = -1;
  box.append(element("span", "marker"), button, note);
  return box;
}

function makeLine(instance, key) {
  const line = { key, element: element("tr"), cells: new Map(), stamps: new Map() };
  line.element.dataset.key = key;
  for (const column of instance.columns) {
    const cell = element("td", (column.right ? "right " : "") + "col-" + column.key);
    cell.setAttribute("role", "gridcell");
    if (column.control) cell.append(makeControl(column.key));
    line.cells.set(column.key, cell);
    line.element.append(cell);
  }
  return line;
}

const CONTROLS = {
  prune(instance, row, box) {
    box.hidden = !isSite(row);
    box.checked = shownSetting(instance, row) !== "spared";
    box.setAttribute("aria-label", `Prune ${row.label}`);
  },
  pin(instance, row, box) {
    box.hidden = !isSite(row);
    box.checked = ["pinned", "spared"].includes(shownSetting(instance, row));
    box.setAttribute("aria-label", `Pin ${row.label}`);
  },
  name(instance, row, box) {
    const [marker, button, note] = box.children;
    marker.textContent = instance.marked.has(row.key) ? "✓" : "";
    writeName(button, row.label, instance.nameLength);
    note.hidden = !row.notes;
    if (row.notes) {
      note.title = row.notes.join(" ");
      note.setAttribute("aria-label", `Why the wish for ${row.label} was limited: ${note.title}`);
    }
  },
  ratio(instance, row, box) {
    const [field, follows] = box.children;
    field.hidden = !isSite(row);
    follows.textContent = row.role === "coupled" ? ratioText(row) : isSite(row) ? "" : "—";
    field.setAttribute("aria-label", `Pruned share of ${row.label} (%)`);
    field.classList.toggle("pending", pendingEdit(instance, row)?.action === "ratio");
    if (isSite(row) && instance.editing !== row.key) {
      const text = shownRatio(instance, row);
      if (field.value !== text) field.value = text;
    }
  },
};

// Long names are cut in the middle: both ends of a module path tell layers apart.
function writeName(button, name, length) {
  const cut = name.length > length;
  const end = Math.floor((length - 1) * 0.6);
  const text = cut ? name.slice(0, length - 1 - end) + "…" + name.slice(-end) : name;
  if (button.textContent === text && button.title === name) return;
  button.textContent = text;
  button.title = name;
  button.setAttribute("aria-label", name);
}

function fill(instance, line) {
  const row = rowOf(instance, line.key);
  const selected = isSite(row) && row.name === instance.data.selected;
  const along = row.role === "coupled" && row.deciding === instance.data.selected;
  const classes = [
    selected ? "selected" : "", along ? "along" : "", row.role,
    instance.marked.has(line.key) ? "marked" : "", instance.active === line.key ? "active" : "",
  ].filter(Boolean).join(" ");
  if (line.element.className !== classes) line.element.className = classes;
  line.element.setAttribute("aria-selected", String(instance.marked.has(line.key)));
  if (selected) line.element.setAttribute("aria-current", "true");
  else line.element.removeAttribute("aria-current");
  for (const column of instance.columns) {
    const cell = line.cells.get(column.key);
    if (column.control) {
      CONTROLS[column.key](instance, row, cell.firstChild);
      continue;
    }
    const stamp = column.stamp(row, instance);
    if (line.stamps.get(column.key) === stamp) continue;
    line.stamps.set(column.key, stamp);
    cell.replaceChildren(column.show(row, instance));
  }
}

// The rows of the view: filtered and sorted numbers of rows.
function arrange(instance) {
  const wanted = instance.search.toLowerCase();
  const [, passes] = FILTERS[instance.filter];
  const found = instance.rows.filter((row) => passes(row)
    && (!instance.kind || row.kind === instance.kind)
    && (!wanted || `${row.label} ${row.kind} ${row.unit}`.toLowerCase().includes(wanted)));
  const column = COLUMNS.find((candidate) => candidate.key === instance.sort.key);
  if (column) {
    const sign = instance.sort.down ? -1 : 1;
    const compare = (a, b) => (typeof a === "string"
      ? a.localeCompare(b, "en", { numeric: true }) : a - b);
    const values = new Map(found.map((row) => [row, column.sort(row)]));
    found.sort((a, b) => sign * compare(values.get(a), values.get(b)) || a.i - b.i);
  }
  instance.view = found.map((row) => row.key);
}

function range(instance) {
  const size = instance.view.length;
  if (size <= WHOLE) return [0, size];
  const scroll = part(instance, ".scroll");
  const first = Math.floor(scroll.scrollTop / ROW_HEIGHT) - SPARE;
  const count = Math.ceil((scroll.clientHeight || 460) / ROW_HEIGHT) + 2 * SPARE;
  const start = Math.max(0, Math.min(first, size - count));
  return [start, Math.min(size, start + count)];
}

function spacer(instance, name, rows) {
  const line = instance.spacers[name];
  line.firstChild.style.height = `${rows * ROW_HEIGHT}px`;
  return rows > 0 ? [line] : [];
}

function drawBody(instance) {
  const body = part(instance, "tbody");
  const [start, end] = range(instance);
  instance.range = [start, end];
  const keys = instance.view.slice(start, end);
  const kept = new Set(keys);
  for (const [key, line] of instance.lines) {
    if (kept.has(key)) continue;
    if (line.element.contains(focusedIn(instance))) leaveField(instance, true);
    line.element.remove();
    instance.lines.delete(key);
  }
  const wanted = [...spacer(instance, "above", start)];
  keys.forEach((key, place) => {
    let line = instance.lines.get(key);
    if (!line) instance.lines.set(key, (line = makeLine(instance, key)));
    line.element.id = `row-${start + place}`;
    line.element.setAttribute("aria-rowindex", String(start + place + 2));
    fill(instance, line);
    wanted.push(line.element);
  });
  wanted.push(...spacer(instance, "below", instance.view.length - end));
  if (instance.view.length === 0) wanted.push(instance.spacers.empty);
  for (const old of [...body.children]) if (!wanted.includes(old)) old.remove();
  wanted.forEach((line, place) => {
    if (body.children[place] !== line) body.insertBefore(line, body.children[place] || null);
  });
  pointAt(instance);
}

function pointAt(instance) {
  const line = instance.lines.get(instance.active);
  const table = part(instance, "table");
  if (line) table.setAttribute("aria-activedescendant", line.element.id);
  else table.removeAttribute("aria-activedescendant");
}

// Head, totals, tools

// As wide as its longest text can get, whatever goes, so that nothing moves.
function widthOf(instance, column) {
  if (!column.letters) return column.width;
  const whole = [...instance.rows, sumRow(instance.rows)].map((row) => column.letters({ ...row, removed: 0 }).length);
  return column.width + 7 * Math.max(4, ...whole);
}

function drawHead(instance) {
  const line = element("tr");
  const group = part(instance, "colgroup");
  const widths = instance.columns.map((column) => widthOf(instance, column));
  group.replaceChildren(...widths.map((width) => {
    const column = element("col");
    column.style.width = `${width}px`;
    return column;
  }));
  part(instance, "table").style.minWidth = `${widths.reduce((sum, width) => sum + width, 0)}px`;
  for (const column of instance.columns) {
    const cell = element("th", (column.right ? "right " : "") + "col-" + column.key);
    cell.scope = "col";
    cell.setAttribute("role", "columnheader");
    if (column.help) cell.title = column.help;
    const active = instance.sort.key === column.key;
    const button = element("button", "sort");
    button.type = "button";
    button.dataset.column = column.key;
    button.append(element("span", "", column.title));
    const arrow = element("span", "arrow", active ? (instance.sort.down ? "▾" : "▴") : "");
    arrow.setAttribute("aria-hidden", "true");
    button.append(arrow);
    cell.setAttribute("aria-sort", active ? (instance.sort.down ? "descending" : "ascending") : "none");
    cell.append(button);
    line.append(cell);
  }
  const focused = focusedIn(instance)?.dataset?.column;
  part(instance, "thead").replaceChildren(line);
  if (focused) part(instance, `[data-column="${focused}"]`)?.focus({ preventScroll: true });
}

function sumRow(rows, extra) {
  const sites = rows.filter(isSite);
  const sum = { ...extra, coupled: [], role: "sum" };
  sum.total = sites.reduce((total, row) => total + row.total, 0);
  sum.removed = sites.reduce((total, row) => total + row.removed, 0);
  const units = new Set(sites.map((row) => row.unit));
  sum.unit = units.size === 1 ? [...units][0] : "units";
  for (const key of Object.keys(QUANTITIES)) {
    sum[key] = rows.reduce((total, row) => total + (row[key] ?? 0), 0);
    sum[key + "_after"] = rows.reduce((total, row) => total + (row[key + "_after"] ?? 0), 0);
  }
  const times = rows.map((row) => row.time).filter((time) => time !== undefined);
  if (times.length) sum.time = times.reduce((total, time) => total + time, 0);
  return sum;
}

function drawFoot(instance) {
  const shown = new Set(instance.view);
  const hidden = instance.rows.filter((row) => !shown.has(row.key));
  const other = hidden.filter((row) => row.kind !== "file").length;
  const label = other ? `${exactly(other)} ${other === 1 ? "layer" : "layers"} not shown`
    : hidden.length ? hidden[0].label : "everything is shown";
  const sums = [
    sumRow(hidden, { label, help: hidden.slice(0, 40).map((row) => row.label).join(", ") }),
    sumRow(instance.rows, { label: "Total", help: "The whole model, as in the strip above" }),
  ];
  const lines = sums.map((sum, place) => {
    const line = element("tr", place ? "total" : "rest");
    for (const column of instance.columns) {
      const cell = element("td", (column.right ? "right " : "") + "col-" + column.key);
      if (column.key === "name") {
        cell.append(element("span", "label", sum.label));
        cell.title = sum.help;
      } else if (column.key === "ratio") {
        cell.textContent = place && sum.total ? ratioText(sum) : "";
      } else if (column.key === "kept" ? place && sum.total : QUANTITIES[column.key] || (column.key === "time" && sum.time !== undefined)) {
        cell.append(column.show(sum, instance));
      }
      line.append(cell);
    }
    return line;
  });
  part(instance, "tfoot").replaceChildren(...lines);
}

function drawTools(instance) {
  const kinds = new Map();
  for (const row of instance.rows) {
    if (FILTERS[instance.filter][1](row)) kinds.set(row.kind, (kinds.get(row.kind) || 0) + 1);
  }
  if (instance.kind && !kinds.has(instance.kind)) kinds.set(instance.kind, 0);
  const choices = [["", "All types"], ...[...kinds].map(([kind, n]) => [kind, `${kind} (${n})`])];
  const select = part(instance, ".kinds");
  const said = JSON.stringify(choices);
  if (select.dataset.said !== said) {
    select.dataset.said = said;
    select.replaceChildren(...choices.map(([value, text]) => {
      const option = element("option", "", text);
      option.value = value;
      return option;
    }));
  }
  select.value = instance.kind;
  const [listed, all] = [instance.view.length, instance.rows.filter(FILTERS.prunable[1]).length];
  const layers = (n) => `${exactly(n)} ${n === 1 ? "layer" : "layers"}`;
  part(instance, ".shown").textContent = listed === all ? layers(all)
    : instance.filter === "all" && listed === instance.rows.length ? `${exactly(listed)} rows` : `${exactly(listed)} of ${layers(all)}`;
}

function drawBulk(instance) {
  const rows = targets(instance);
  const label = rows.length === 1 ? rows[0].label : rows.length ? `${exactly(rows.length)} layers` : "No layer";
  const what = part(instance, ".what");
  writeName(what, label, 28);
  what.removeAttribute("aria-label");
  const sites = sitesOf(instance, rows);
  for (const control of instance.root.querySelectorAll(".bulk [data-many], .bulk .many")) {
    control.disabled = sites.length === 0;
  }
  status(instance);
}

// Everything; `still` keeps the order and the filtered rows, so that a row edited here stays put.
function draw(instance, still = false) {
  performance.mark("layer-table-start");
  const columns = columnsOf(instance);
  const said = columns.map((column) => column.key).join(" ");
  if (said !== instance.said) {
    instance.said = said;
    for (const line of instance.lines.values()) line.element.remove();
    instance.lines.clear();
    instance.spacers = makeSpacers(columns.length);
  }
  instance.columns = columns;
  const known = new Set(instance.view);
  if (!still || instance.view.some((key) => !instance.byKey.has(key)) || known.size === 0) arrange(instance);
  drawHead(instance);
  const scroll = part(instance, ".scroll");
  const everything = instance.rows.filter(FILTERS.prunable[1]).length;
  scroll.style.minHeight = `${(Math.min(everything, 10) + 1) * ROW_HEIGHT + 2 * FOOT_HEIGHT + 2}px`;
  part(instance, "table").setAttribute("aria-rowcount", String(instance.view.length + 3));
  drawBody(instance);
  drawFoot(instance);
  drawTools(instance);
  drawBulk(instance);
  performance.measure("layer-table", "layer-table-start");
}

function makeSpacers(width) {
  const make = (className, text) => {
    const line = element("tr", className);
    const cell = element("td", "", text);
    cell.colSpan = width;
    line.append(cell);
    return line;
  };
  const [above, below] = [make("space"), make("space")];
  for (const line of [above, below]) line.setAttribute("aria-hidden", "true");
  return { above, below, empty: make("empty", "No layer matches.") };
}

// Selection and keyboard

function refill(instance) {
  for (const line of instance.lines.values()) fill(instance, line);
  pointAt(instance);
  drawBulk(instance);
}

function reveal(instance) {
  const place = instance.view.indexOf(instance.active);
  if (place < 0) return;
  const scroll = part(instance, ".scroll");
  const head = part(instance, "thead").offsetHeight;
  const foot = part(instance, "tfoot").offsetHeight;
  const room = scroll.clientHeight - head - foot;
  const top = place * ROW_HEIGHT;
  if (top < scroll.scrollTop) scroll.scrollTop = top;
  else if (top + ROW_HEIGHT > scroll.scrollTop + room) scroll.scrollTop = top + ROW_HEIGHT - room;
  onScroll(instance);
}

function activate(instance, key) {
  instance.active = key;
  instance.message = "";
  reveal(instance);
  refill(instance);
}

function move(instance, step, extend = false) {
  const place = instance.view.indexOf(instance.active);
  const next = Math.max(0, Math.min(instance.view.length - 1, place < 0 ? 0 : place + step));
  if (extend) {
    const [low, high] = [Math.min(Math.max(place, 0), next), Math.max(place, next)];
    for (const key of instance.view.slice(low, high + 1)) instance.marked.add(key);
  }
  if (instance.view.length) activate(instance, instance.view[next]);
}

function choose(instance, row) {
  if (row.site < 0) return say(instance, `${row.label} has nothing that could go.`);
  const name = instance.rows[row.site].name;
  if (name !== instance.data.selected) instance.outbox.send({ action: "select", name });
  return true;
}

function toggle(instance, key) {
  if (!instance.marked.delete(key)) instance.marked.add(key);
}

function fieldOf(instance, key) {
  return instance.lines.get(key)?.cells.get("ratio").querySelector("input");
}

// The keyboard edits the marked rows when the row it is at is one of them.
function startEditing(instance, text) {
  const row = rowOf(instance, instance.active);
  if (!row) return;
  if (!isSite(row)) {
    say(instance, row.role === "coupled" ? `${row.label} leaves together with ${row.deciding}: set it there.` : `${row.label} has nothing that could go.`);
    return;
  }
  const field = fieldOf(instance, instance.active);
  instance.editing = instance.active;
  instance.many = instance.marked.has(instance.active) && instance.marked.size > 1;
  field.focus({ preventScroll: true });
  if (text === undefined) field.select();
  else {
    field.value = text;
    field.setSelectionRange(text.length, text.length);
  }
  if (instance.many) say(instance, `Sets all ${instance.marked.size} marked layers.`);
}

// Ends editing a field; what was typed is kept unless it is no ratio or `keep` is false.
function leaveField(instance, keep) {
  const key = instance.editing;
  const row = rowOf(instance, key);
  const field = key && fieldOf(instance, key);
  if (!row || !field) return true;
  const rows = instance.many ? targets(instance) : [row];
  if (keep && !commitRatio(instance, rows, field.value)) return false;
  instance.editing = null;
  instance.many = false;
  if (keep) instance.message = "";
  field.value = shownRatio(instance, row);
  return true;
}

function focusGrid(instance) {
  part(instance, "table").focus({ preventScroll: true });
}

function fieldKey(instance, event) {
  const steps = { Enter: event.shiftKey ? -1 : 1, ArrowDown: 1, ArrowUp: -1 };
  if (event.key === "Escape") {
    leaveField(instance, false);
    instance.message = "";
  } else if (steps[event.key]) {
    if (!leaveField(instance, true)) return event.preventDefault();
    if (event.key !== "Enter" || instance.marked.size < 2) move(instance, steps[event.key]);
  } else {
    return undefined;
  }
  event.preventDefault();
  focusGrid(instance);
  refill(instance);
  return undefined;
}

const step = (instance, by) => {
  const row = rowOf(instance, instance.active);
  if (!row || !isSite(row)) return startEditing(instance);
  const value = Math.max(0, Math.min(LARGEST, Number(shownRatio(instance, row)) + by));
  return send(instance, "ratio", [row], Number(value.toFixed(2)));
};

function flip(instance, on, off, is) {
  const rows = targets(instance);
  const all = rows.filter(isSite).every(is);
  send(instance, all ? off : on, rows);
}

const KEYS = {
  ArrowDown: (instance, event) => move(instance, 1, event.shiftKey),
  ArrowUp: (instance, event) => move(instance, -1, event.shiftKey),
  PageDown: (instance, event) => move(instance, 10, event.shiftKey),
  PageUp: (instance, event) => move(instance, -10, event.shiftKey),
  Home: (instance, event) => move(instance, -1e9, event.shiftKey),
  End: (instance, event) => move(instance, 1e9, event.shiftKey),
  Enter: (instance) => { const row = rowOf(instance, instance.active); if (row) choose(instance, row); },
  " ": (instance) => { toggle(instance, instance.active); refill(instance); },
  Escape: (instance) => { instance.marked.clear(); instance.message = ""; refill(instance); },
  F2: (instance) => startEditing(instance),
  "+": (instance) => step(instance, 1),
  "-": (instance) => step(instance, -1),
  x: (instance) => flip(instance, "spare", "prune", (row) => shownSetting(instance, row) === "spared"),
  p: (instance) => flip(instance, "pin", "unpin", (row) => ["pinned", "spared"].includes(shownSetting(instance, row))),
  g: (instance) => send(instance, "follow", targets(instance)),
  "/": (instance) => part(instance, "input[type=search]").focus(),
  "?": (instance) => openPanel(instance, "help"),
};

function gridKey(instance, event) {
  if (event.ctrlKey || event.metaKey || event.altKey) {
    if (event.key !== "a" || event.altKey) return;
    for (const key of instance.view) instance.marked.add(key);
    refill(instance);
  } else if (/^[0-9.,]$/.test(event.key)) {
    startEditing(instance, event.key);
  } else {
    const act = KEYS[event.key] || KEYS[event.key.toLowerCase()];
    if (!act) return;
    act(instance, event);
  }
  event.preventDefault();
  event.stopPropagation();
}

function onClick(instance, event) {
  const line = event.target.closest("tr[data-key]");
  if (!line) return;
  const row = rowOf(instance, line.dataset.key);
  if (event.target.dataset.act || event.target.matches("input.ratio")) return;
  if (event.target.matches(".note")) {
    activate(instance, row.key);
    return;
  }
  if (event.shiftKey) {
    const [from, to] = [instance.view.indexOf(instance.active), instance.view.indexOf(row.key)];
    for (const key of instance.view.slice(Math.min(from, to), Math.max(from, to) + 1)) instance.marked.add(key);
  } else if (event.ctrlKey || event.metaKey) {
    if (instance.marked.size === 0 && instance.active !== row.key && rowOf(instance, instance.active)) instance.marked.add(instance.active);
    toggle(instance, row.key);
  } else {
    instance.marked.clear();
    choose(instance, row);
  }
  const message = instance.message;
  activate(instance, row.key);
  if (message) say(instance, message);
  focusGrid(instance);
}

function onChange(instance, event) {
  const action = event.target.dataset?.act;
  if (!action) return;
  const row = rowOf(instance, event.target.closest("tr").dataset.key);
  const rows = instance.marked.has(row.key) ? targets(instance) : [row];
  const words = action === "pin" ? ["pin", "unpin"] : ["prune", "spare"];
  instance.active = row.key;
  send(instance, event.target.checked ? words[0] : words[1], rows);
  focusGrid(instance);
  refill(instance);
}

function onScroll(instance) {
  const [start, end] = range(instance);
  if (start !== instance.range[0] || end !== instance.range[1]) drawBody(instance);
}

// Panels: which columns there are, and what the keys do

const HELP = [
  ["↑ ↓ Page Home End", "move from row to row"],
  ["Enter", "show the layer below"],
  ["0 … 9", "type the share to prune, in per cent; Enter, ↑ or ↓ sets it and goes on, Esc does not"],
  ["+ −", "one point more or less"],
  ["Space", "mark the row; Shift with arrows or click, and Ctrl with click, mark several; Ctrl A marks all"],
  ["X", "prune the layer or not"],
  ["P", "pin or unpin"],
  ["G", "back to the global setting"],
  ["/", "search"],
  ["Esc", "no row is marked any more"],
];

function helpPanel() {
  const list = element("dl", "keys");
  for (const [keys, text] of HELP) list.append(element("dt", "", keys), element("dd", "", text));
  const about = element("p", "", "All keys act on the marked rows, or on the row with the frame.");
  return [element("strong", "", "Keyboard"), list, about];
}

function choiceBox(kind, label, checked, change) {
  const line = element("label");
  const box = element("input");
  box.type = kind;
  if (kind === "radio") box.name = "shown";
  box.checked = checked;
  box.addEventListener("change", () => change(box.checked));
  line.append(box, element("span", "", label));
  return line;
}

function columnsPanel(instance) {
  const update = (change) => {
    instance.choice = { ...instance.choice, ...change };
    store(instance.choice);
    draw(instance, true);
  };
  const boxes = COLUMNS.filter((column) => !column.always && exists(column, instance)).map((column) =>
    choiceBox("checkbox", column.title, instance.columns.includes(column), (on) =>
      update({ columns: { ...instance.choice.columns, [column.key]: on } })));
  const reset = element("button", "plain", "As at first");
  reset.type = "button";
  reset.addEventListener("click", () => { update({ columns: {}, saved: false }); openPanel(instance, "columns"); openPanel(instance, "columns"); });
  return [
    element("strong", "", "Columns"), ...boxes, element("strong", "", "Numbers"),
    choiceBox("radio", "before → after", !instance.choice.saved, () => update({ saved: false })),
    choiceBox("radio", "after and saved share", Boolean(instance.choice.saved), () => update({ saved: true })),
    reset,
  ];
}

function openPanel(instance, name) {
  const panel = part(instance, ".panel");
  const open = instance.panel === name ? "" : name;
  instance.panel = open;
  panel.hidden = !open;
  panel.replaceChildren(...(open === "help" ? helpPanel() : open ? columnsPanel(instance) : []));
  panel.setAttribute("aria-label", open === "help" ? "Keys of the table" : "Columns of the table");
  for (const button of instance.root.querySelectorAll("[data-panel]")) {
    button.setAttribute("aria-expanded", String(button.dataset.panel === open));
  }
  if (open) panel.focus({ preventScroll: true });
}

function download(instance) {
  const link = element("a");
  link.href = URL.createObjectURL(new Blob(["\ufeff" + csv(instance)], { type: "text/csv;charset=utf-8" }));
  link.download = `layers_${instance.data.model.replace(/[^A-Za-z0-9_.-]+/g, "_")}.csv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function listen(instance) {
  const { root } = instance;
  const on = (selector, type, act) => part(instance, selector).addEventListener(type, (event) => act(event));
  on("input[type=search]", "input", (event) => { instance.search = event.target.value; draw(instance); });
  on("input[type=search]", "keydown", (event) => {
    if (event.key !== "Enter" && event.key !== "ArrowDown") return;
    event.preventDefault();
    if (!instance.view.includes(instance.active) && instance.view.length) activate(instance, instance.view[0]);
    focusGrid(instance);
  });
  on(".kinds", "change", (event) => { instance.kind = event.target.value; draw(instance); });
  on(".filter", "change", (event) => { instance.filter = event.target.value; draw(instance); });
  on(".csv", "click", () => download(instance));
  for (const button of root.querySelectorAll("[data-panel]")) {
    button.addEventListener("click", () => openPanel(instance, button.dataset.panel));
  }
  root.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !instance.panel) return;
    const button = part(instance, `[data-panel=${instance.panel}]`);
    openPanel(instance, instance.panel);
    button.focus();
    event.stopPropagation();
  }, true);
  root.addEventListener("pointerdown", (event) => {
    if (instance.panel && !event.target.closest(".panel, [data-panel]")) openPanel(instance, instance.panel);
  });
  on("thead", "click", (event) => {
    const key = event.target.closest("[data-column]")?.dataset.column;
    if (!key) return;
    const { sort } = instance;
    const first = COLUMNS.find((column) => column.key === key).right === true;
    if (sort.key !== key) instance.sort = { key, down: first };
    else instance.sort = sort.down === first ? { key, down: !first } : { key: "" };
    draw(instance);
  });
  const body = part(instance, "tbody");
  body.addEventListener("mousedown", (event) => { if (event.shiftKey) event.preventDefault(); });
  body.addEventListener("click", (event) => onClick(instance, event));
  body.addEventListener("change", (event) => onChange(instance, event));
  body.addEventListener("focusin", (event) => {
    if (!event.target.matches("input.ratio")) return;
    const { key } = event.target.closest("tr").dataset;
    if (instance.editing === key) return;
    instance.active = key;
    instance.editing = key;
    instance.many = false;
    event.target.select();
    refill(instance);
  });
  body.addEventListener("focusout", (event) => {
    if (event.target.matches("input.ratio") && instance.editing) {
      if (!leaveField(instance, true)) leaveField(instance, false);
    }
  });
  on("table", "keydown", (event) => {
    if (event.target.matches("input.ratio")) fieldKey(instance, event);
    else if (event.target === part(instance, "table")) gridKey(instance, event);
  });
  on(".scroll", "scroll", () => onScroll(instance));
  on(".bulk", "click", (event) => {
    const action = event.target.dataset.many;
    if (!action) return;
    const field = part(instance, ".many");
    if (action !== "ratio") send(instance, action, targets(instance));
    else if (commitRatio(instance, targets(instance), field.value)) field.value = "";
  });
  on(".many", "keydown", (event) => {
    if (event.key === "Enter") part(instance, "[data-many=ratio]").click();
  });
  instance.observer = new ResizeObserver(() => {
    const width = part(instance, "th.col-name")?.offsetWidth || 192;
    const length = Math.max(12, Math.floor((width - 25) / 7.5));
    if (length === instance.nameLength) return;
    instance.nameLength = length;
    refill(instance);
  });
  instance.observer.observe(root);
}

function open(root) {
  const instance = {
    root, search: "", kind: "", filter: "prunable", sort: { key: "" }, choice: stored(), panel: "",
    marked: new Set(), active: "", editing: null, many: false, message: "", nameLength: 22,
    lines: new Map(), view: [], range: [0, 0], outbox: new Outbox(),
  };
  const filter = part({ root }, ".filter");
  for (const [value, [text]] of Object.entries(FILTERS)) {
    const option = element("option", "", text);
    option.value = value;
    filter.append(option);
  }
  return instance;
}

export default function ({ data: bytes, parentElement, setTriggerValue }) {
  const data = unpacked(bytes);
  const root = parentElement.querySelector(".layers");
  let instance = instances.get(root);
  const isNew = !instance;
  if (isNew) instances.set(root, (instance = open(root)));
  const moved = isNew || instance.data.selected !== data.selected || instance.data.model !== data.model;
  instance.data = data;
  instance.rows = unpack(data);
  instance.byKey = new Map(instance.rows.map((row) => [row.key, row]));
  const measured = instance.rows.flatMap((row) => (row.sensitivity ? row.sensitivity[1] : []));
  instance.accuracies = [Math.min(...measured), Math.max(...measured)];
  const answered = instance.outbox.pending.length > 0;
  instance.outbox.receive(setTriggerValue, data.done);
  for (const key of instance.marked) if (!instance.byKey.has(key)) instance.marked.delete(key);
  if (moved) instance.active = "site " + data.selected;
  paint(root);
  if (isNew) listen(instance);
  draw(instance, answered);
  if (moved) reveal(instance);
  return whenGone(root, () => {
    instance.outbox.close();
    instance.observer.disconnect();
  });
}
