/** Who this tab is. Each new tab is somebody else, so that two of them can talk. */
const NAMES = ["ann", "bob", "cleo", "dan", "eva", "finn", "gina", "hugo"];
const KEY = "topichub-user";

/** The user of this tab: the one in the address, else the one it had before, else the next of the list. */
export function userOfThisTab() {
  const named = new URLSearchParams(location.search).get("user")?.trim().normalize("NFC");
  const user = named || sessionStorage.getItem(KEY) || nextName();
  sessionStorage.setItem(KEY, user);
  return user;
}

/** Makes this tab another user. */
export function become(user) {
  location.search = new URLSearchParams({ user });
}

/** Somebody who is not `user`, for a second tab. */
export function somebodyElse(user) {
  return NAMES[(NAMES.indexOf(user) + 1) % NAMES.length];
}

function nextName() {
  const turn = Number(localStorage.getItem(KEY)) || 0;
  localStorage.setItem(KEY, String(turn + 1));
  return NAMES[turn % NAMES.length];
}
