// The key of this tab. Asked for once, when the service wants one; forgotten when the tab is closed.

const NAME = "freshet-key";
const HEADER = "X-API-Key";
const at = (id) => document.getElementById(id);

let asking = null; // one question for all calls that wait for its answer
let isDeclined = false;

export const hasKey = () => sessionStorage.getItem(NAME) !== null;

// `fetch` with this tab's key; a service that knows it not is answered with one from the user, if there is one.
export async function send(path, options = {}) {
  const key = sessionStorage.getItem(NAME);
  const headers = key === null ? options.headers : { ...options.headers, [HEADER]: key };
  const answer = await fetch(path, { ...options, headers });
  if (answer.status !== 401) return answer;
  return (await hasAnother(key)) ? send(path, options) : answer;
}

// Whether there is a key now that is not the refused one.
async function hasAnother(refused) {
  if (sessionStorage.getItem(NAME) !== refused) return true; // given while this call was under way
  if (isDeclined) return false;
  asking ??= ask(refused === null ? "" : "This key is not known.").finally(() => { asking = null; });
  return asking;
}

function ask(problem) {
  const dialog = at("key-dialog");
  at("key-problem").textContent = problem;
  at("key").value = "";
  dialog.showModal();
  return new Promise((resolve) => {
    at("key-form").onsubmit = (event) => {
      event.preventDefault();
      sessionStorage.setItem(NAME, at("key").value.trim());
      dialog.close("given");
    };
    at("key-later").onclick = () => dialog.close();
    dialog.onclose = () => {
      isDeclined = dialog.returnValue !== "given";
      dialog.returnValue = "";
      resolve(!isDeclined);
    };
  });
}
