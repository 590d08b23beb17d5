// Pictures. An <img> sends no key, so where one is needed they are fetched with it and shown from memory.

import { hasKey, send } from "./key.js";

const MAX_KEPT = 200;
const kept = new Map(); // address -> promise of an object URL, oldest first

export async function showPicture(image, address) {
  if (!hasKey()) {
    image.src = address;
    return;
  }
  try {
    image.src = await local(address);
  } catch {
    image.remove();
  }
}

function local(address) {
  if (!kept.has(address)) kept.set(address, load(address));
  if (kept.size > MAX_KEPT) forgetOldest();
  return kept.get(address);
}

async function load(address) {
  const answer = await send(address);
  if (!answer.ok) {
    kept.delete(address);
    throw new Error(`no picture: ${answer.status}`);
  }
  return URL.createObjectURL(await answer.blob());
}

function forgetOldest() {
  const [address, picture] = kept.entries().next().value;
  kept.delete(address);
  picture.then(URL.revokeObjectURL, () => {});
}
