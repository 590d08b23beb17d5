// From answers to elements. Text is only ever set as text, so an item's title can hold anything.

import { showPicture } from "./pictures.js";

const DEGRADED = {
  no_model: "no model yet: popular items",
  unknown_user: "nothing known of this user yet: popular items",
  no_candidates: "the model knows none of these items: popular items",
  deadline: "the model was too slow: popular items",
  model_failed: "the model failed: popular items",
  elsewhere: "another process has this user, and does not answer: popular items",
};

function element(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

// A colour of its own for each id, the same on every visit.
function hue(id) {
  let hash = 2166136261;
  for (const letter of id) hash = Math.imul(hash ^ letter.codePointAt(0), 16777619);
  return (Math.imul(hash ^ (hash >>> 15), 2246822519) >>> 0) % 360;
}

// The number of a blend is the second it was made in, or a little more.
function clock(seconds) {
  return new Date(seconds * 1000).toLocaleString();
}

// Width over height of a cover: the picture's own, from a poster's to a square.
function shape(image) {
  return Math.min(1, Math.max(2 / 3, image.naturalWidth / image.naturalHeight || 1));
}

function cover(item) {
  const letter = element("span", "cover-letter", [...item.title.trim()].slice(0, 1).join("").toUpperCase());
  const box = element("span", "cover", letter);
  box.style.setProperty("--hue", hue(item.item_id));
  box.setAttribute("aria-hidden", "true");
  if (item.image_url) {
    const image = element("img");
    image.alt = "";
    image.loading = "lazy";
    image.decoding = "async";
    image.addEventListener("error", () => image.remove());
    image.addEventListener("load", () => box.style.setProperty("--shape", shape(image)));
    box.append(image);
    showPicture(image, item.image_url);
  }
  return box;
}

export function age(ms) {
  const s = Math.max(0, ms) / 1000;
  if (s < 10) return `${s.toFixed(2)} s`;
  if (s < 90) return `${Math.round(s)} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  if (s < 129600) return `${Math.round(s / 3600)} h`;
  if (s < 86400 * 700) return `${Math.round(s / 86400)} days`;
  return `${Math.round(s / (86400 * 365.25))} years`;
}

function past(item, index, now) {
  const row = element("li", "past", cover(item));
  const title = element("p", "past-title", item.title);
  title.title = item.title;
  row.append(title, element("p", "past-when", `${item.kind} · ${age(now - item.ts_ms)}`));
  if (index === 0 && now - item.ts_ms < 60_000) row.classList.add("is-new");
  return row;
}

export function showHistory(list, history) {
  const now = Date.now();
  if (!history.items.length) {
    list.replaceChildren(element("li", "empty", "No events yet. Choose a card below to make the first one."));
    return;
  }
  list.replaceChildren(...history.items.map((item, index) => past(item, index, now)));
  list.scrollLeft = 0;
}

const BROUGHT_BY = {
  model: ["model", "the model brought it"],
  memory: ["memory", "it often follows what was chosen last"],
  trending: ["trending", "many choose it now"],
  seen: ["known", "it was chosen before"],
};

function part(item) {
  const [word, why] = BROUGHT_BY[item.brought_by] || [item.brought_by, ""];
  const made = element("span", "part", word);
  made.title = why;
  return made;
}

function score(item, best, worst) {
  if (item.score === null) return element("span", "card-score", "popular");
  const meter = element("span", "meter", element("i"));
  const share = best > worst ? 0.12 + (0.88 * (item.score - worst)) / (best - worst) : 1;
  meter.style.setProperty("--share", `${Math.round(share * 100)}%`);
  const made = element("span", "card-score", meter, item.score.toFixed(2));
  if (item.brought_by) made.append(part(item));
  return made;
}

function card(item, place, range, onChoose) {
  const picture = cover(item);
  picture.append(element("span", "rank", String(place + 1)));
  if (item.is_new) picture.append(element("span", "new", "new"));
  const text = element("span", "card-text", element("span", "card-title", item.title), score(item, ...range));
  const button = element("button", "card", picture, text);
  button.type = "button";
  const said = item.score === null ? "popular" : `score ${item.score.toFixed(2)}${item.is_new ? ", new" : ""}`;
  const why = item.brought_by ? `, by ${(BROUGHT_BY[item.brought_by] || [item.brought_by])[0]}` : "";
  button.setAttribute("aria-label", `${place + 1}. ${item.title}, ${said}${why}. Send a click.`);
  button.addEventListener("click", () => onChoose(item));
  const row = element("li", "", button);
  row.dataset.item = item.item_id;
  return row;
}

export function showFeed(list, feed, onChoose) {
  const before = new Set(Array.from(list.children, (row) => row.dataset.item));
  const scores = feed.items.map((item) => item.score).filter((value) => value !== null);
  const range = [Math.max(...scores), Math.min(...scores)];
  const rows = feed.items.map((item, place) => card(item, place, range, onChoose));
  rows.forEach((row, place) => {
    if (before.has(row.dataset.item)) return;
    row.classList.add("is-entering");
    row.style.setProperty("--place", place);
  });
  const none = element("li", "empty", "Nothing to show yet: no items have arrived.");
  list.replaceChildren(...(rows.length ? rows : [none]));
}

// `reflectedMs`: from the choice of a card to the feed that knows of it; null when nothing was chosen.
export function showFacts(facts, feed, reflectedMs) {
  const parts = [];
  if (reflectedMs !== null && !feed.stale) {
    parts.push(element("span", "fact-fresh", `your click ${age(reflectedMs)} ago is reflected`));
  } else if (feed.newest_event_ms !== null) {
    const old = age(feed.generated_ms - feed.newest_event_ms);
    parts.push(element("span", "", `newest event reflected: ${old} old`));
  }
  if (feed.model_version) parts.push(element("span", "", `model ${feed.model_version}`));
  if (feed.blend != null) parts.push(element("span", "", `blend of ${clock(feed.blend)}`));
  if (feed.stale) parts.push(element("span", "fact-warn", "stale: your newest event is not in yet"));
  if (feed.degraded) parts.push(element("span", "fact-warn", DEGRADED[feed.degraded] || feed.degraded));
  facts.replaceChildren(...parts);
}

export function showUsers(options, chips, users, current, onPick) {
  const others = users.filter((user) => user !== current);
  options.replaceChildren(...users.map((user) => new Option(user)));
  chips.replaceChildren(
    ...(current ? [current, ...others] : others).slice(0, 12).map((user) => {
      const button = element("button", "", user);
      button.type = "button";
      button.setAttribute("aria-pressed", String(user === current));
      button.addEventListener("click", () => onPick(user));
      return element("li", "", button);
    }),
  );
}

export function showStatus(at, status, rates) {
  const whole = new Intl.NumberFormat("en");
  at("events-per-s").textContent = whole.format(Math.round(status.events_per_s * 10) / 10);
  at("model-version").textContent = status.model_version ? status.model_version.split("-")[0] : "none yet";
  at("model-version").title = status.model_version || "";
  at("model-age").textContent = status.model_age_s === null ? "–" : age(status.model_age_s * 1000);
  const recall = status.prequential.recall_at_10;
  at("recall").textContent = recall === null ? "–" : recall.toFixed(3);
  at("totals").textContent = `${whole.format(status.n_users)} · ${whole.format(status.n_items)}`;
  drawSpark(at("spark-line"), at("spark-area"), rates);
}

function drawSpark(line, area, rates) {
  if (rates.length < 2) return;
  const top = Math.max(1, ...rates);
  const points = rates.map((rate, at) => {
    const x = (64 * at) / (rates.length - 1);
    return `${x.toFixed(1)} ${(19 - (17 * rate) / top).toFixed(1)}`;
  });
  line.setAttribute("d", `M${points.join("L")}`);
  area.setAttribute("d", `M0 20L${points.join("L")}L64 20Z`);
}
