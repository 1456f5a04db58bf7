// The page of a link. The secret is in the fragment, which no server sees; it is sent on a click, never on load.

import { showDeadline } from "./page.js";
import { fileUrl, secretIn, sizeWords } from "./words.js";

const UNKNOWN = "This link does not open anything: it is unknown, used up, expired or taken back. Ask the sender for a new one.";
const CUT = "The link is not whole: its part after the # is missing or cut short. Copy it again, or ask the sender for it.";

// The secret that the server knew, while it asks for the password.
let known = null;

const base = location.pathname.replace(/\/+$/, "");
const at = (id) => document.getElementById(id);
const [get, form, field, password, status, error, result] = ["get", "paste", "secret", "password", "status", "error", "result"].map(at);
const submit = form.querySelector("button");

function say(text) {
  status.textContent = text;
}

function fail(text) {
  say("");
  error.textContent = text;
  error.hidden = false;
}

function busy(yes) {
  for (const button of [get, submit]) button.setAttribute("aria-disabled", String(yes));
}

/** The link is good and has a password: ask for it, with the cursor where it goes. */
function askPassword(wrong) {
  at("open").hidden = true;
  at("ask-secret").hidden = true;
  field.disabled = true;
  at("ask-password").hidden = false;
  form.hidden = false;
  password.required = true;
  at("password-hint").textContent = "This link has a password. If you do not have it, ask the sender.";
  password.setAttribute("aria-invalid", String(wrong));
  password.setAttribute("aria-describedby", wrong ? "password-hint error" : "password-hint");
  if (wrong) fail("The password is wrong. Check it and try again. After too many attempts you have to wait.");
  else say("This link has a password.");
  password.focus();
  password.select();
}

/** What to tell the reader of a refusal: the server's own words where it has some. */
function refusal(response, problem) {
  if (response.status === 404) return UNKNOWN;
  const text = problem.detail ?? problem.title ?? `The server refused with ${response.status}. Try again later.`;
  const wait = Number(response.headers.get("Retry-After"));
  if (!wait) return text;
  return `${text} Try again in ${wait === 1 ? "a second" : wait < 120 ? `${wait} seconds` : `${Math.ceil(wait / 60)} minutes`}.`;
}

/** The server's clock minus ours, from the answer's Date; zero within its precision. */
function skewOf(response) {
  const skew = Date.parse(response.headers.get("Date")) - Date.now();
  return Math.abs(skew) > 2000 ? skew : 0;
}

function row({ name, size }) {
  const item = document.createElement("li");
  const link = document.createElement("a");
  link.href = fileUrl(base, name);
  link.textContent = name;
  const words = document.createElement("span");
  words.className = "size";
  words.textContent = sizeWords(size);
  item.append(link, " ", words);
  return item;
}

function show({ deadline, files }, skew) {
  password.value = "";
  const one = files.length === 1;
  at("title").textContent = one ? "Your file" : "Your files";
  document.title = `${one ? "Your file" : "Your files"} · burnbag`;
  at("lead").hidden = true;
  at("files").replaceChildren(...files.map(row));
  at("deadline").hidden = false;
  at("actions").hidden = true;
  result.hidden = false;
  result.focus();
  say(one ? "The download starts by itself. If it does not, click the name." : `${files.length} files. Click a name to download it.`);
  showDeadline(at("deadline"), deadline, skew, () => {
    say("");
    at("files").replaceChildren();
  });
  if (one) location.assign(fileUrl(base, files[0].name));
}

async function refused(response) {
  const problem = await response.json().catch(() => ({}));
  if (problem.code === "password_required") askPassword(false);
  else if (problem.code === "password_wrong") askPassword(true);
  else fail(refusal(response, problem));
}

async function open(secret) {
  if (get.getAttribute("aria-disabled") === "true") return;
  known = secret;
  error.hidden = true;
  busy(true);
  say("Opening the link …");
  try {
    const response = await fetch(`${base}/ticket`, {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "application/json" },
      body: JSON.stringify(password.value ? { secret, password: password.value } : { secret }),
      cache: "no-store",
      redirect: "error",
      signal: AbortSignal.timeout(30_000),
    });
    if (response.ok) show((await response.json()).transfer, skewOf(response));
    else await refused(response);
  } catch {
    fail("The server could not be reached, or its answer was cut. Check your connection and try again.");
  }
  busy(false);
}

function ready() {
  error.hidden = true;
  at("insecure").hidden = window.isSecureContext;
  at("actions").hidden = !window.isSecureContext;
  at("terminal").open = !window.isSecureContext;
  const secret = secretIn(location.hash);
  at("open").hidden = !secret;
  form.hidden = Boolean(secret);
  at("ask-password").hidden = true;
  if (location.hash.length > 1 && !secret) fail(CUT);
  document.documentElement.dataset.ready = "";
}

get.addEventListener("click", () => {
  const secret = secretIn(location.hash);
  if (secret) open(secret);
});

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const secret = field.disabled ? known : secretIn(field.value);
  field.setAttribute("aria-invalid", String(!secret));
  if (secret) {
    open(secret);
  } else {
    fail(CUT);
    field.focus();
  }
});

// Another link pasted over this one changes the fragment alone, and the browser does not load the page again.
addEventListener("hashchange", () => location.reload());

ready();
