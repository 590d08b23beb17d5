// The few calls the page makes. Every refusal of the API is a problem whose `detail` says what to do.

import { send } from "./key.js";

async function ask(path, options) {
  const answer = await send(path, options);
  const body = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(body.detail || `the server answered ${answer.status}`), { status: answer.status });
  return body;
}

const path = (id) => encodeURIComponent(id);

export const fetchStatus = () => ask("/v1/status");
export const fetchUsers = (limit) => ask(`/v1/users?limit=${limit}`);
export const fetchHistory = (user) => ask(`/v1/users/${path(user)}/history?limit=30`);

export function fetchFeed(user, after) {
  const query = new URLSearchParams({ k: 24 });
  if (after) query.set("after", after);
  return ask(`/v1/feeds/${path(user)}?${query}`);
}

// Answers with the position token once the event is durable. The event id makes the retry below safe.
export async function sendClick(user, item, feed) {
  const event = { event_id: newId(), user_id: user, item_id: item, kind: "click", ts_ms: Date.now() };
  if (feed) event.feed_id = feed;
  const options = {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(event),
  };
  try {
    return await ask("/v1/events", options);
  } catch {
    return ask("/v1/events", options);
  }
}

function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
