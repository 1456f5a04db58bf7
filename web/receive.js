// The page of a link. The secret is in the fragment, which no server sees; it is sent on a click, never on load.

import { showDeadline } from "./page.js";
import { fileUrl, secretIn, sizeWords } from "./words.js";

const UNKNOWN = "This link does not open anything: it is unknown, used up, expired or taken back. Ask the sender for a new one.";
const CUT = "The link is not whole: its part after the # is missing or cut short. Copy it again, or ask the sender for it.";

const base = location.pathname.replace(/\/+$/, "");
const at = (id) => document.getElementById(id);
const [get, form, field, status, error, result] = ["get", "paste", "secret", "status", "error", "result"].map(at);
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

/** What to tell the reader of a refusal: the server's own words where it has some. */
async function refusal(response) {
  if (response.status === 404) return UNKNOWN;
  const problem = await response.json().catch(() => ({}));
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

async function open(secret) {
  if (get.getAttribute("aria-disabled") === "true") return;
  error.hidden = true;
  busy(true);
  say("Opening the link …");
  try {
    const response = await fetch(`${base}/ticket`, {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "application/json" },
      body: JSON.stringify({ secret }),
      cache: "no-store",
      redirect: "error",
      signal: AbortSignal.timeout(30_000),
    });
    if (response.ok) show((await response.json()).transfer, skewOf(response));
    else fail(await refusal(response));
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
  if (location.hash.length > 1 && !secret) fail(CUT);
  document.documentElement.dataset.ready = "";
}

get.addEventListener("click", () => {
  const secret = secretIn(location.hash);
  if (secret) open(secret);
});

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const secret = secretIn(field.value);
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
