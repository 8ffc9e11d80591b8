// The page asks for the demo's state twice a second, and draws it anew.

const SVG = "http://www.w3.org/2000/svg";
const NAMES = { serving: "Serving", suspected: "Suspected", confirmed: "Confirmed", labels: "Labels", retraining: "Retraining", gate: "Gate", promoted: "Promoted" };
const STEPS = {
  source: "looking at the source", "1 data analysis": "reading and packing images", "2 baseline": "training the baseline", "3 optimization": "training the better model",
  "4 ONNX": "exporting, quantising, measuring", "first gate": "judging the first model", "first champion": "making it the champion",
  production_monitoring: "reading the log", drift_detection: "testing for drift", automated_retraining: "retraining", onnx_deployment: "exporting the candidate",
  validation_gate: "the gate judges", model_promotion: "promoting", synthesis_report: "closing the watch",
};
const GATE = "Each candidate must show, on images that it never saw, that it is not worse.";
const by = (id) => document.getElementById(id);
const drawn = {};
// Milliseconds that a set of visitors stays, to be looked at.
const LOOK = 3000;
let looked = 0;
let dragging = false;

function element(name, attributes = {}, text = "", namespace = SVG) {
  const made = document.createElementNS(namespace, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text) made.textContent = text;
  return made;
}
const milliseconds = (value) => `${value.toFixed(value < 10 ? 1 : 0)} ms`;
const html = (name, attributes = {}, text = "") => element(name, attributes, text, "http://www.w3.org/1999/xhtml");

// Draw again only what has changed: a list that is read must not jump.
function changed(name, content) {
  const now = JSON.stringify(content);
  if (drawn[name] === now) return false;
  drawn[name] = now;
  return true;
}

function drawWay(state) {
  if (!changed("way", state.stage)) return;
  by("way").replaceChildren(...state.stages.map((name) => {
    const item = html("li", {}, NAMES[name]);
    if (name === state.stage) item.setAttribute("aria-current", "step");
    return item;
  }));
}

function drawTiles(state) {
  const visitors = state.visitors, last = visitors?.points.at(-2) ?? visitors?.points.at(-1);
  const share = last ? last.right / last.answers : null, percent = (value) => (100 * value).toFixed(0);
  const { p95_ms: p95, limit_ms: limit } = state.latency;
  const age = state.champion_since ? Math.max(0, (Date.now() - Date.parse(state.champion_since)) / 1000) : null;
  const window = state.windows.at(-1);
  const tiles = [
    ["champion", state.champion ? `version ${state.champion}` : "none yet", state.champion ? "good" : ""],
    ["serves for", age === null ? "–" : age < 120 ? `${age.toFixed(0)} s` : `${(age / 60).toFixed(0)} min`, ""],
    ["requests a second", visitors ? visitors.requests_per_second.toFixed(0) : "–", ""],
    ["p95, last watch", p95 === null ? "–" : milliseconds(p95), p95 && limit ? (p95 > limit ? "warning" : "good") : "", limit ? `limit ${milliseconds(limit)}` : ""],
    ["last window", window ? (window.drifted ? "drifted" : "as accepted") : "–", window ? (window.drifted ? "bad" : "good") : ""],
    ["right answers", share === null ? "–" : `${percent(share)} %`, share === null ? "" : share > 0.85 ? "good" : "warning", last ? `${percent(last.low)} to ${percent(last.high)} %` : ""],
    ["labels", state.labels.needed ? `${state.labels.given} of ${Math.max(state.labels.needed, state.labels.given)}` : `${state.labels.given}`, ""],
  ];
  by("tiles").replaceChildren(...tiles.map(([name, value, colour, beside]) => {
    const tile = html("div", colour ? { class: colour } : {}), said = html("dd", {}, value);
    if (beside) said.append(" ", html("span", {}, beside));
    tile.append(html("dt", {}, name), said);
    return tile;
  }));
}

function frame(svg, left, low, high, marks) {
  svg.replaceChildren();
  for (const [value, label] of marks) {
    const y = low + (high - low) * value;
    svg.append(element("line", { class: "axis", x1: left, x2: 550, y1: y, y2: y }), element("text", { x: left - 6, y: y + 4, "text-anchor": "end" }, label));
  }
}

function drawAccuracy(points) {
  if (!changed("accuracy", points)) return;
  const svg = by("accuracy"), least = 0.4, low = 185, high = 12;
  frame(svg, 58, low, high, [[0, "40 %"], [1 / 3, "60 %"], [2 / 3, "80 %"], [1, "100 %"]]);
  if (!points.length) return;
  const first = points[0].seconds, span = Math.max(points.at(-1).seconds - first, 1);
  const x = (point) => 66 + (476 * (point.seconds - first)) / span, y = (share) => low - ((low - high) * (Math.max(share, least) - least)) / (1 - least);
  const labels = [];
  points.forEach((point, index) => {
    const before = points[index - 1];
    if (before && point.drift > 0) svg.prepend(element("rect", { class: "shade", x: x(before), width: Math.max(x(point) - x(before), 0.5), y: high, height: low - high }));
    if (before && before.version !== point.version) {
      const late = x(before) > 520;
      svg.append(element("line", { class: "deploy", x1: x(before), x2: x(before), y1: high, y2: low }));
      labels.push(element("text", { class: "value", x: x(before) + (late ? -5 : 5), y: high + 14, "text-anchor": late ? "end" : "start" }, `v${point.version}`));
    }
    if (point.answers > 9) svg.append(element("line", { class: "bar", x1: x(point), x2: x(point), y1: y(point.low), y2: y(point.high) }));
  });
  const enough = points.filter((point) => point.answers > 9);
  svg.append(element("polyline", { class: "line", points: enough.map((point) => `${x(point)},${y(point.right / point.answers)}`).join(" ") }));
  svg.append(...labels, element("text", { x: 66, y: 204 }, "first visitor"), element("text", { x: 542, y: 204, "text-anchor": "end" }, "now"));
}

function drawPValues(windows) {
  if (!changed("pvalues", windows)) return;
  const svg = by("pvalues"), low = 12, high = 185, floor = 6;
  frame(svg, 58, low, high, [[0, "1"], [1 / 3, "0.01"], [2 / 3, "0.0001"], [1, "≤ 1e-6"]]);
  const y = (p) => low + (high - low) * Math.min(-Math.log10(Math.max(p, 1e-12)) / floor, 1);
  windows.forEach((window, index) => {
    const x = 70 + (470 * (index + 0.5)) / Math.max(windows.length, 12), half = 235 / Math.max(windows.length, 12);
    svg.append(element("line", { class: "limit", x1: x - half, x2: x + half, y1: y(window.alpha), y2: y(window.alpha) }));
    const dot = element("circle", { class: window.drifted ? "alarm" : "dot", cx: x, cy: y(window.p), r: 5 });
    dot.append(element("title", {}, `window ${index + 1}: p ${window.p.toPrecision(2)}, ${window.drifted ? "alarm" : "no alarm"}`));
    svg.append(dot);
  });
  svg.append(element("text", { x: 66, y: 204 }, windows.length ? "windows, one after the other" : "no window has been tested yet"));
}

function drawPictures(visitors) {
  if (!visitors?.pictures.length || Date.now() < looked + LOOK || !changed("pictures", visitors.pictures)) return;
  looked = Date.now();
  by("pictures").replaceChildren(...visitors.pictures.map((shown) => {
    const item = html("li"), right = shown.truth === shown.predicted;
    item.append(
      html("img", { src: `picture/${shown.request_id}`, alt: `An image of ${shown.truth}`, width: 64, height: 64 }),
      html("p", { class: right ? "right" : "wrong" }, `${right ? "✓" : "✗"} ${shown.predicted} ${(100 * shown.confidence).toFixed(0)}\u00a0%`),
      html("p", {}, `p ${shown.p_value < 0.001 ? "< 0.001" : shown.p_value.toFixed(3)}`),
    );
    return item;
  }));
}

function drawNeighbours(neighbours) {
  if (!changed("neighbours", neighbours)) return;
  by("strangest").hidden = !neighbours.length;
  by("neighbours").replaceChildren(...neighbours.map((pictures) => {
    const item = html("li");
    item.append(...pictures.map((src, place) => html("img", { src, alt: place ? "An accepted image" : "An image of a visitor", width: 64, height: 64 })));
    return item;
  }));
}

function drawCloud(cloud) {
  if (!changed("cloud", cloud)) return;
  const svg = by("cloud");
  svg.replaceChildren();
  const all = [...(cloud.reference ?? []), ...(cloud.now ?? [])];
  if (!all.length) return svg.append(element("text", { x: 10, y: 30 }, "after the first watch"));
  const range = (axis) => [Math.min(...all.map((point) => point[axis])), Math.max(...all.map((point) => point[axis]))];
  const [left, right] = range(0), [bottom, top] = range(1);
  for (const [points, name] of [[cloud.reference, "reference"], [cloud.now, "latest"]]) {
    for (const [px, py] of points) {
      svg.append(element("circle", { class: name, r: 3.5, cx: 12 + (536 * (px - left)) / (right - left || 1), cy: 238 - (226 * (py - bottom)) / (top - bottom || 1) }));
    }
  }
}

// The gate says everything at once; who watches sees it criterion by criterion, the decision last.
function reveal(parts) {
  parts.forEach((part, index) => {
    part.classList.add("arriving");
    part.style.animationDelay = `${0.7 * index}s`;
  });
}

function drawGate(criteria, events) {
  const watched = "gate" in drawn;
  if (!changed("gate", criteria)) return;
  const svg = by("forest"), points = criteria.filter((one) => one.unit === "points" && one.bound !== null && one.low !== null);
  svg.replaceChildren();
  const last = events.findLast((event) => event.event === "gate");
  const said = html("span", {}, last?.text ?? GATE);
  by("gate-said").replaceChildren(said);
  svg.setAttribute("viewBox", `0 0 560 ${Math.max(60, 44 * points.length + 30)}`);
  const values = points.flatMap((one) => [one.low, one.high ?? one.estimate, one.bound, 0]);
  const least = Math.min(...values, -0.05), most = Math.max(...values, 0.05), x = (value) => 20 + (520 * (value - least)) / (most - least);
  if (points.length) svg.append(element("line", { class: "axis", x1: x(0), x2: x(0), y1: 0, y2: 44 * points.length + 6 }));
  points.forEach((one, index) => {
    const y = 30 + 44 * index, kind = one.holds ? "holds" : one.refuted ? "refuted" : "open", row = element("g");
    row.append(
      element("text", { class: "value", x: 20, y: y - 12 }, `${one.name}: ${(100 * one.estimate).toFixed(1)} points, at worst ${(100 * one.low).toFixed(1)}`),
      element("line", { class: kind, x1: x(one.low), x2: x(one.high ?? one.estimate), y1: y, y2: y, "stroke-width": 3 }),
      element("circle", { class: kind, cx: x(one.estimate), cy: y, r: 5 }),
      element("line", { class: "limit", x1: x(one.bound), x2: x(one.bound), y1: y - 8, y2: y + 8 }),
    );
    svg.append(row);
  });
  if (points.length) svg.append(element("text", { x: 20, y: 44 * points.length + 22 }, "line: as good as the champion; dashed: the limit"));
  by("facts").replaceChildren(...criteria.filter((one) => !points.includes(one)).map((one) => html("li", {}, `${one.holds ? "✓" : one.refuted ? "✗" : "?"} ${one.name}`)));
  if (watched) reveal([...svg.querySelectorAll("g"), ...by("facts").children, said]);
}

function drawLog(events) {
  if (!changed("log", events)) return;
  by("log").replaceChildren(...[...events].reverse().map((event) => {
    const item = html("li");
    item.append(html("time", {}, `${event.seconds.toFixed(0)} s`), html("span", {}, event.text));
    return item;
  }));
}

function draw(state) {
  drawWay(state);
  const last = state.events.at(-1)?.text ?? "a first model is being trained: this takes a minute or two";
  by("now").textContent = state.step ? `${STEPS[state.step] ?? state.step} …` : last;
  drawTiles(state);
  by("drift-name").textContent = state.drift;
  if (!dragging && state.visitors) {
    by("severity").value = state.visitors.severity;
    by("severity-value").textContent = `${(100 * state.visitors.severity).toFixed(0)} %`;
  }
  by("severity").disabled = !state.visitors;
  by("labelling").checked = state.labelling;
  by("rollback").disabled = !state.can_roll_back;
  drawAccuracy(state.visitors?.points ?? []);
  drawPValues(state.windows);
  drawPictures(state.visitors);
  drawNeighbours(state.neighbours);
  drawCloud(state.cloud);
  drawGate(state.criteria, state.events);
  drawLog(state.events);
}

async function send(path, content) {
  const answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(content) });
  by("told").textContent = answer.ok ? "" : (await answer.json()).detail;
}

by("severity").addEventListener("input", () => {
  dragging = true;
  by("severity-value").textContent = `${(100 * by("severity").value).toFixed(0)} %`;
});
by("severity").addEventListener("change", async () => {
  await send("controls", { severity: Number(by("severity").value) });
  dragging = false;
});
by("labelling").addEventListener("change", () => send("controls", { labelling: by("labelling").checked }));
by("rollback").addEventListener("click", () => send("rollback", {}));

async function follow() {
  try {
    draw(await (await fetch("state", { cache: "no-store" })).json());
  } catch (gone) {
    by("now").textContent = "The demo has ended.";
  }
  setTimeout(follow, 500);
}
follow();
