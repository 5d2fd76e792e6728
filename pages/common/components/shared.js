// The formats of pruning_core/figures/numbers.py, for numbers that move while the pointer does.
function scale(value, units) {
  let magnitude = Math.abs(value);
  let step = 0;
  while (step < units.length - 1 && Number(magnitude.toPrecision(3)) >= 1000) {
    magnitude /= 1000;
    step += 1;
  }
  let text;
  if (step === 0) {
    text = magnitude >= 100 || Number.isInteger(magnitude)
      ? magnitude.toFixed(0) : String(Number(magnitude.toPrecision(3)));
  } else {
    const digits = 2 - Math.floor(Math.log10(Number(magnitude.toPrecision(3))));
    text = magnitude.toFixed(Math.max(0, digits));
  }
  return (value < 0 ? "-" : "") + text + (units[step] ? " " + units[step] : "");
}
const formatCount = (value) => scale(value, ["", "k", "M", "G", "T"]);
const formatSize = (value) => scale(value, ["B", "kB", "MB", "GB", "TB"]);
const formatPercent = (share) => (100 * share).toFixed(1) + " %";
function formatReduction(before, after) {
  if (after <= 0) return before > 0 ? "all removed" : "1.00x";
  const ratio = before / after;
  return (ratio < 10 ? ratio.toFixed(2) : ratio < 100 ? ratio.toFixed(1) : ratio.toFixed(0)) + "x";
}
function formatScore(value, digits = 4) {
  if (value === 0) return "0";
  const exponent = Math.floor(Math.log10(Math.abs(Number(value.toPrecision(digits)))));
  if (exponent < -4 || exponent >= digits) {
    const [mantissa, power] = value.toExponential(digits - 1).split("e");
    const sign = power[0] === "-" ? "-" : "+";
    return String(Number(mantissa)) + "e" + sign + power.slice(1).padStart(2, "0");
  }
  return String(Number(value.toPrecision(digits)));
}
function element(tag, className = "", text = undefined) {
  const made = document.createElement(tag);
  made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}
// Data come as the bytes of JSON, see _component in __init__.py.
const unpacked = (bytes) => JSON.parse(new TextDecoder().decode(bytes));
// Streamlit 1.67 calls what a component returned also when newer data came before its first call was
// through. So a component ends only when it has left the page.
function whenGone(root, end) {
  return () => setTimeout(() => { if (!root.isConnected) end(); });
}
// What a person asks of the server. Of the messages of a component that the server has not read yet
// only the last is kept, so each carries all wishes that were not answered; see pages/common/inbox.py.
const ASK_AGAIN_MS = 4000;
class Outbox {
  constructor() {
    this.client = `${Date.now()}-${Math.random()}`;
    this.counter = 0;
    this.posts = 0;
    this.pending = [];
  }

  send(wish) {
    this.counter += 1;
    this.pending.push({ n: this.counter, ...wish });
    this.post();
  }

  post() {
    this.posts += 1;  // of two equal messages the server would take the second for no news
    this.trigger("wishes", { client: this.client, post: this.posts, wishes: this.pending });
    clearTimeout(this.timer);
    this.timer = setTimeout(() => { if (this.pending.length) this.post(); }, ASK_AGAIN_MS);
  }

  // To be called with whatever the server sends.
  receive(trigger, done) {
    this.trigger = trigger;
    if (done.client === this.client) this.pending = this.pending.filter((wish) => wish.n > done.n);
  }

  close() {
    clearTimeout(this.timer);
  }
}
// The theme's first two chart colours mean kept and pruned.
function paint(root) {
  const style = getComputedStyle(root);
  const colours = style.getPropertyValue("--st-chart-categorical-colors").split(",");
  root.style.setProperty("--kept", (colours[0] || "#0072B2").trim());
  root.style.setProperty("--pruned", (colours[1] || "#D55E00").trim());
}
// Importance, from dark to bright, as in pruning_core/figures/palette.py.
const CIVIDIS = [
  "#00224e", "#123570", "#3b496c", "#575d6d", "#707173",
  "#8a8678", "#a59c74", "#c3b369", "#e1cc55", "#fee838",
].map((hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)));
function colourOf(share, stops = CIVIDIS) {
  const place = Math.max(0, Math.min(1, share)) * (stops.length - 1);
  const low = Math.min(stops.length - 2, Math.floor(place));
  return [0, 1, 2].map((i) => stops[low][i] + (place - low) * (stops[low + 1][i] - stops[low][i]));
}
