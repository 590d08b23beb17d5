// The page: pick a user, see history and feed, choose a card and watch the feed follow.

import { fetchFeed, fetchHistory, fetchStatus, fetchUsers, sendClick } from "./api.js";
import { showFacts, showFeed, showHistory, showStatus, showUsers } from "./view.js";

const STATUS_EVERY_MS = 2000;
const USERS_EVERY = 5; // statuses
const MAX_RATES = 40;

const at = (id) => document.getElementById(id);
const rates = [];
let user = new URLSearchParams(location.search).get("user");
let users = [];
let feedId = null;
let turn = 0; // answers of an earlier turn are thrown away
let nStatuses = 0;

function tell(error) {
  at("notice").textContent = error ? error.message : "";
  at("notice").hidden = !error;
}

async function refresh({ after = null, chosenMs = null } = {}) {
  if (!user) return;
  const mine = ++turn;
  at("feed").setAttribute("aria-busy", "true");
  try {
    const feed = await fetchFeed(user, after);
    const reflectedMs = chosenMs === null ? null : performance.now() - chosenMs;
    const history = await fetchHistory(user);
    if (mine !== turn) return;
    show(feed, history, reflectedMs);
    tell(null);
  } catch (error) {
    if (mine === turn) tell(error);
  } finally {
    if (mine === turn) at("feed").setAttribute("aria-busy", "false");
  }
}

function show(feed, history, reflectedMs) {
  const isFeedFocused = at("feed").contains(document.activeElement);
  feedId = feed.feed_id;
  showFacts(at("feed-facts"), feed, reflectedMs);
  showHistory(at("history"), history);
  showFeed(at("feed"), feed, choose);
  const n = history.items.length;
  at("history-note").textContent = n ? `${n} ${n === 1 ? "event" : "events"}, newest first` : "";
  at("announce").textContent = `Feed of ${feed.items.length} items for ${user}. First: ${feed.items[0]?.title ?? "none"}.`;
  if (isFeedFocused) at("feed").querySelector("button")?.focus({ preventScroll: true });
}

async function choose(item) {
  const chosenMs = performance.now();
  try {
    const accepted = await sendClick(user, item.item_id, feedId);
    await refresh({ after: accepted.position, chosenMs });
  } catch (error) {
    tell(error);
  }
}

function pick(chosen) {
  user = chosen;
  at("user-id").value = user;
  history.replaceState(null, "", `?${new URLSearchParams({ user })}`);
  showUsers(at("user-list"), at("recent-users"), users, user, pick);
  return refresh();
}

async function updateUsers() {
  ({ users } = await fetchUsers(50));
  if (!user && users.length) await pick(users[0]);
  else showUsers(at("user-list"), at("recent-users"), users, user, pick);
}

function connection(state, text) {
  at("connection").dataset.state = state;
  at("connection-text").textContent = text;
}

async function updateStatus() {
  try {
    const status = await fetchStatus();
    rates.push(status.events_per_s);
    if (rates.length > MAX_RATES) rates.shift();
    showStatus(at, status, rates);
    connection("live", "live");
    if (!user && nStatuses++ % USERS_EVERY === 0) await updateUsers();
  } catch (error) {
    connection("lost", error.status === 401 ? "no key" : "no answer");
  }
}

function everyWhile() {
  if (!document.hidden) updateStatus();
}

at("user-form").addEventListener("submit", (event) => {
  event.preventDefault();
  pick(at("user-id").value);
});

if (user) pick(user);
updateUsers().catch(tell);
updateStatus();
setInterval(everyWhile, STATUS_EVERY_MS);
