// The page of the service: asks /predict and /feedback, and watches /activity. Everything a server or a file says is set as text.

const AT_ONCE = 3; // images under way together
const KEPT = 50; // answers on the page; the oldest go first
const POLL_MS = 2000;
const TOP_CLASSES = 5;
const VERY = 0.01, SOME = 0.05; // p-values from which an image is called unusual, or somewhat

const find = (selector, from = document) => from.querySelector(selector);
const say = (text) => { find("#said").textContent = text; };

// --- numbers for people ---------------------------------------------------------------------------------------------------------

const number = (value, digits = 3) => value.toLocaleString("en", { maximumSignificantDigits: digits });
const count = (value) => value == null ? value : Math.round(value).toLocaleString("en");

function percent(share) {
  if (share > 0 && share < 0.001) return "< 0.1 %";
  if (share > 0.999 && share < 1) return "> 99.9 %";
  return `${(share * 100).toFixed(1)} %`;
}

function milliseconds(value) {
  if (value == null) return "–";
  return value < 1000 ? `${number(value, 2)} ms` : `${number(value / 1000, 2)} s`;
}

/** As a sentence: a plain word in front begins with a capital, a file's name stays as it is. */
function sentence(text) {
  const begun = /^[a-z]+[ ,]/.test(text) ? text[0].toUpperCase() + text.slice(1) : text;
  return /[.!?]$/.test(begun) ? begun : `${begun}.`;
}

function element(name, text, className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = className;
  return made;
}

// --- asking the service ---------------------------------------------------------------------------------------------------------

/** What went wrong, as one sentence for a person; `retryAfter` in seconds where the service named it, `key` that was sent. */
class Failure extends Error {
  constructor(sentence, facts = {}) {
    super(sentence);
    Object.assign(this, { status: 0, retryAfter: 0, key: null }, facts);
  }
}

async function ask(path, purpose, options = {}) {
  const key = sessionStorage.getItem(`driftloop.${purpose}`);
  // Feedback may have a key of its own; where it has none, it takes the other.
  const shown = key ?? sessionStorage.getItem("driftloop.key");
  // fetch writes a header's characters as bytes, and refuses those that are none; the service reads UTF-8.
  const bytes = shown && String.fromCharCode(...new TextEncoder().encode(shown));
  let response, answer;
  try {
    response = await fetch(path, { ...options, headers: { ...options.headers, ...(bytes && { "X-API-Key": bytes }) }, signal: AbortSignal.timeout(60_000) });
    answer = await response.json().catch(() => null);
  } catch (error) {
    throw new Failure(error.name === "TimeoutError" ? "The service did not answer within a minute." : "The service cannot be reached.");
  }
  if (response.ok && answer) return answer;
  const detail = typeof answer?.detail === "string" ? answer.detail : `The service answered ${response.status} ${response.statusText}`.trim();
  throw new Failure(sentence(detail), { status: response.status, retryAfter: Number(response.headers.get("Retry-After")) || 0, key });
}

// --- the key --------------------------------------------------------------------------------------------------------------------

const PURPOSES = { key: "This service asks for a key.", "feedback-key": "Feedback asks for a key of its own." };
const waitingForKey = new Map(); // by purpose, what goes on once there is one

function needKey(purpose, tried, goOn) {
  const form = find("#key");
  // A new key came while the old one was being refused.
  if (sessionStorage.getItem(`driftloop.${purpose}`) !== tried) return goOn();
  const refused = tried !== null;
  sessionStorage.removeItem(`driftloop.${purpose}`);
  waitingForKey.set(purpose, [...(waitingForKey.get(purpose) ?? []), goOn]);
  if (!form.hidden && form.dataset.purpose === purpose && !refused) return;
  form.dataset.purpose = purpose;
  find("#key-label").textContent = refused ? `That key was refused. ${PURPOSES[purpose]}` : PURPOSES[purpose];
  form.hidden = false;
  say(find("#key-label").textContent);
}

find("#key").addEventListener("submit", (event) => {
  event.preventDefault();
  const { purpose } = event.target.dataset;
  sessionStorage.setItem(`driftloop.${purpose}`, find("#key-value").value.trim());
  find("#key-value").value = "";
  event.target.hidden = true;
  const goOn = waitingForKey.get(purpose) ?? [];
  waitingForKey.delete(purpose);
  for (const next of goOn) next();
  const [other] = waitingForKey.keys();
  if (other) needKey(other, null, () => {});
});

// --- images and answers ---------------------------------------------------------------------------------------------------------

const queue = [];
let underWay = 0;

function take(files) {
  const images = [...files];
  if (!images.length) return;
  say(images.length === 1 ? `Sending ${images[0].name}.` : `Sending ${images.length} images.`);
  for (const image of images) queue.push([image, addCard(image)]);
  next();
}

function next() {
  while (underWay < AT_ONCE && queue.length) {
    const [image, card] = queue.shift();
    underWay += 1;
    predict(image, card).finally(() => { underWay -= 1; next(); });
  }
}

function addCard(image) {
  const card = find("#answer").content.cloneNode(true).firstElementChild;
  find(".name", card).textContent = image.name;
  const picture = find("img", card);
  picture.addEventListener("load", () => picture.classList.toggle("tiny", picture.naturalWidth < 200));
  picture.addEventListener("error", () => { picture.hidden = true; find(".no-preview", card).hidden = false; });
  picture.src = URL.createObjectURL(image);
  picture.alt = image.name;
  find("#answers").prepend(card);
  find("#answers-section").hidden = false;
  while (find("#answers").children.length > KEPT) drop(find("#answers").lastElementChild);
  find(".again", card).addEventListener("click", () => { again(image, card); });
  return card;
}

function drop(card) {
  URL.revokeObjectURL(find("img", card).src);
  card.remove();
}

function again(image, card) {
  find(".failure", card).hidden = true;
  find(".waiting", card).hidden = false;
  queue.push([image, card]);
  next();
}

async function predict(image, card) {
  const form = new FormData();
  form.append("image", image, image.name);
  try {
    // A folder, or a file that has gone since: fetch would say that the service is.
    await image.slice(0, 1).arrayBuffer().catch(() => { throw new Failure(`${image.name}: not a file that can be read.`); });
    const { version, predictions } = await ask("predict", "key", { method: "POST", body: form });
    show(card, version, predictions[0], image.name);
  } catch (failure) {
    if (failure.status === 401) return needKey("key", failure.key, () => again(image, card));
    find(".waiting", card).hidden = true;
    find(".failure", card).hidden = false;
    const wait = failure.retryAfter && !/try again/i.test(failure.message) ? ` Try again in ${count(failure.retryAfter)} s.` : "";
    find(".failure .notice", card).textContent = failure.message + wait;
    // What is no image, or too large, stays so.
    find(".again", card).hidden = [413, 415, 422].includes(failure.status);
    say(`${image.name}: ${failure.message}`);
  }
}

function show(card, version, prediction, name) {
  find(".waiting", card).hidden = true;
  find(".outcome", card).hidden = false;
  find(".class b", card).textContent = prediction.class;
  find(".class .small", card).textContent = `${percent(prediction.confidence)} confident`;
  showBars(card, prediction);
  const tone = showUnusual(find(".unusual", card), prediction.unusual);
  find(".note", card).hidden = !prediction.note;
  find(".note", card).textContent = sentence(prediction.note || "");
  find(".ids", card).replaceChildren("Version ", element("span", version), " · request ", element("span", prediction.request_id));
  prepareFeedback(find(".feedback", card), prediction);
  say(`${name}: ${prediction.class}, ${percent(prediction.confidence)} confident. ${tone}`);
}

function showBars(card, { class: predicted, probabilities }) {
  const classes = Object.entries(probabilities).sort((left, right) => right[1] - left[1]);
  const [most, rest] = card.querySelectorAll(".bars");
  classes.forEach(([name, share], place) => {
    const line = element("li", "", name === predicted ? "top" : "");
    const bar = element("span", "", "bar");
    const filled = document.createElement("i");
    filled.style.width = `${share * 100}%`;
    bar.append(filled);
    bar.setAttribute("aria-hidden", "true");
    line.append(element("span", name, "label"), bar, element("span", percent(share), "share"));
    (place < TOP_CLASSES ? most : rest).append(line);
  });
  find("details", card).hidden = classes.length <= TOP_CLASSES;
  find("summary", card).textContent = `${classes.length - TOP_CLASSES} more classes`;
}

const tone = (p) => (p <= VERY ? "very" : p <= SOME ? "some" : "");

function showUnusual(box, unusual) {
  box.hidden = !unusual;
  if (!unusual) return "";
  const { p_value: p, value, usual_low: low, usual_high: high } = unusual;
  if (tone(p)) box.classList.add(tone(p));
  const heading = { very: "This image is unusual.", some: "This image is somewhat unusual.", "": "This image looks as usual." }[tone(p)];
  find("b", box).textContent = heading;
  find("p span", box).textContent = sentence(unusual.sentence.replace(/^looks as usual: /, ""));
  const odds = p < 0.5 ? `1 of ${count(1 / p)} usual images looks as unusual` : "Most usual images look as unusual";
  find(".odds", box).textContent = `${odds} (p\u00a0=\u00a0${number(p, 2)}).`;
  drawGauge(box, unusual.statistic.replaceAll("_", " "), value, low, high);
  return heading;
}

/** The usual range as a band, and where this image lies. */
function drawGauge(box, name, value, low, high) {
  const from = Math.min(value, low), to = Math.max(value, high), margin = (to - from || 1) * 0.08;
  const place = (at) => ((at - from + margin) / (to - from + 2 * margin)) * 100;
  const gauge = find(".gauge", box);
  find(".band", gauge).setAttribute("x", place(low));
  find(".band", gauge).setAttribute("width", Math.max(place(high) - place(low), 0.6));
  find(".mark", gauge).setAttribute("x", Math.min(place(value), 99) - 0.4);
  const text = `${name}: here ${number(value)}, usually ${number(low)} to ${number(high)}`;
  gauge.setAttribute("aria-label", text);
  // Within the range the sentence has said it.
  find(".ends", box).textContent = low <= value && value <= high ? "" : text;
}

// --- feedback -------------------------------------------------------------------------------------------------------------------

function prepareFeedback(form, { request_id, class: predicted, probabilities }) {
  const told = find(".told", form), no = find(".no", form), choice = find("select", form);
  choice.replaceChildren(...Object.keys(probabilities).filter((name) => name !== predicted).map((name) => new Option(name)));
  no.hidden = !choice.length;
  const send = async (label) => {
    find("fieldset", form).disabled = true;
    told.textContent = "Sending …";
    try {
      await ask("feedback", "feedback-key", {
        method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ request_id, label }),
      });
      find("fieldset", form).hidden = true;
      told.textContent = `Thank you: kept as ${label}.`;
    } catch (failure) {
      find("fieldset", form).disabled = false;
      told.textContent = failure.message;
      if (failure.status === 401) needKey("feedback-key", failure.key, () => send(label));
    }
  };
  find(".yes", form).addEventListener("click", () => send(predicted));
  no.addEventListener("click", () => {
    const open = find(".correction", form).hidden;
    find(".correction", form).hidden = !open;
    no.setAttribute("aria-expanded", String(open));
    if (open) choice.focus();
  });
  form.addEventListener("submit", (event) => { event.preventDefault(); send(choice.value); });
}

// --- choosing and dropping ------------------------------------------------------------------------------------------------------

find("#choose").addEventListener("change", (event) => { take(event.target.files); event.target.value = ""; });
find("#clear").addEventListener("click", () => {
  for (const card of [...find("#answers").children]) drop(card);
  find("#answers-section").hidden = true;
  find("#choose").focus();
});

const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    find("#drop").classList.add("over");
  });
}
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) find("#drop").classList.remove("over"); });
// Anywhere on the page: a near miss must not make the browser leave for the file.
document.addEventListener("drop", (event) => {
  if (!holdsFiles(event)) return;
  event.preventDefault();
  find("#drop").classList.remove("over");
  take(event.dataTransfer.files);
});

// --- traffic --------------------------------------------------------------------------------------------------------------------

let version, timer = 0; // version: undefined before the first answer, null while there is no champion

async function watch() {
  clearTimeout(timer);
  if (document.hidden) return;
  try {
    showActivity(await ask("activity", "key"));
    find("#trouble").hidden = true;
  } catch (failure) {
    // It goes on by itself once there is a key.
    if (failure.status === 401) return needKey("key", failure.key, watch);
    if (find("#trouble").textContent !== failure.message) find("#trouble").textContent = failure.message;
    find("#trouble").hidden = false;
  }
  timer = setTimeout(watch, POLL_MS);
}

function showActivity(activity) {
  const changed = version !== undefined && activity.version && version !== activity.version;
  if (changed) say(`Version ${activity.version} answers now.`);
  version = activity.version;
  document.title = version ? `driftloop, version ${version}` : "driftloop";
  find("#since").textContent = version ? `Counted by this replica alone. ${aboutChampion(activity)}` : "No model answers yet: none is promoted, or the store is away.";
  const tiles = [
    ["champion", activity.champion],
    ["version", version ?? "none", changed && "new"],
    ["requests a second", number(activity.requests_per_second)],
    ["median latency", milliseconds(activity.p50_ms)],
    ["latency, 95 %", milliseconds(activity.p95_ms)],
    ["images answered", count(activity.requests)],
    ["errors", count(activity.errors), activity.errors && "bad"],
    ["in the queue", count(activity.queue)],
    ["log rows to be written", count(activity.log_backlog_rows)],
    ["log rows lost", count(activity.log_dropped_rows), activity.log_dropped_rows && "bad"],
    ["changes of champion", count(activity.swaps)],
  ];
  find("#tiles").replaceChildren(...tiles.filter(([, value]) => value != null).map(([name, value, className]) => {
    const tile = element("div", "", className || "");
    tile.append(element("dt", name), element("dd", value));
    return tile;
  }));
  find("#recent-scroll").hidden = !activity.recent.length;
  find("#recent").replaceChildren(...activity.recent.map(recentRow));
}

function aboutChampion({ classes, image_size, since }) {
  const told = classes.length > 6 ? `${classes.length} classes` : new Intl.ListFormat("en").format(classes);
  const at = new Date(since).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
  return `Version ${version} has answered since ${at}; it tells ${told} apart, in images of ${image_size} × ${image_size} pixels.`;
}

function recentRow(request) {
  const row = document.createElement("tr");
  const p = request.unusual_p;
  const time = element("td", new Date(request.time).toLocaleTimeString("en-GB"));
  time.title = request.time;
  row.append(
    time,
    element("td", request.class ?? "–", "class-name"),
    element("td", request.confidence == null ? "–" : percent(request.confidence), "number"),
    element("td", p == null ? "–" : number(p, 2), `number ${p == null ? "" : tone(p)}`),
    element("td", milliseconds(request.latency_ms), "number wide"),
    element("td", request.version, "number wide"),
    element("td", request.request_id, "request wide"),
  );
  return row;
}

document.addEventListener("visibilitychange", watch);
watch();
