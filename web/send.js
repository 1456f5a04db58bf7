// The form that sends files, with a bar that shows how far it is. Without this script the form does the same by itself.

import "./page.js";
import { sizeWords } from "./words.js";

const at = (id) => document.getElementById(id);
const form = at("send");

const [files, chosen, go, stop, running, progress, label, status, error] =
  ["files", "chosen", "go", "stop", "running", "progress", "progress-label", "status", "error"].map(at);

function fail(text, login = false) {
  error.textContent = text;
  if (login) {
    const link = document.createElement("a");
    link.href = "/login";
    link.textContent = "Log in";
    error.append(" ", link);
  }
  error.hidden = false;
}

function busy(request) {
  running.hidden = !request;
  stop.hidden = !request;
  stop.onclick = () => request?.abort();
  go.setAttribute("aria-disabled", String(Boolean(request)));
}

/** What to tell of a refusal: the server's own words where it has some. */
function refusal(request) {
  let problem = {};
  try {
    problem = JSON.parse(request.responseText);
  } catch {
    // A proxy, say, that answers in its own way.
  }
  const text = problem.detail ?? problem.title ?? `The server refused with ${request.status}. Try again later.`;
  const wait = Number(request.getResponseHeader("Retry-After"));
  return wait ? `${text} Try again in ${wait === 1 ? "a second" : wait < 120 ? `${wait} seconds` : `${Math.ceil(wait / 60)} minutes`}.` : text;
}

/** The options first, so that the server can refuse one before it takes the bytes. */
function content() {
  const all = new FormData(form);
  const sent = new FormData();
  for (const [name, value] of all) if (typeof value === "string" && value) sent.append(name, value);
  for (const [name, value] of all) if (typeof value !== "string") sent.append(name, value);
  return sent;
}

function send() {
  const request = new XMLHttpRequest();
  error.hidden = true;
  status.textContent = "";
  progress.value = 0;
  busy(request);
  request.upload.addEventListener("progress", ({ loaded, total }) => {
    if (!total) return;
    progress.value = (100 * loaded) / total;
    label.textContent = loaded < total ? `Sending: ${sizeWords(loaded)} of ${sizeWords(total)}` : "Being stored …";
  });
  request.addEventListener("load", () => {
    const id = request.status === 201 && request.getResponseHeader("Burnbag-Transfer");
    if (id) {
      location.assign(`/transfers/${id}`);
    } else {
      busy(null);
      fail(refusal(request), request.status === 401);
    }
  });
  request.addEventListener("error", () => {
    busy(null);
    fail("The server could not be reached, or the connection broke. Nothing was sent. Check your connection and try again.");
  });
  request.addEventListener("abort", () => {
    busy(null);
    status.textContent = "Stopped. Nothing was sent.";
  });
  request.open("POST", form.action);
  request.setRequestHeader("Accept", "application/json");
  request.send(content());
  status.textContent = "Sending …";
}

/** Shows what was chosen: a browser names one file at most. */
function list() {
  chosen.hidden = files.files.length < 2;
  chosen.replaceChildren(...Array.from(files.files, (file) => {
    const item = document.createElement("li");
    const name = document.createElement("span");
    name.className = "name";
    name.textContent = file.name;
    const size = document.createElement("span");
    size.className = "size";
    size.textContent = sizeWords(file.size);
    item.append(name, " ", size);
    return item;
  }));
}

/** Files that were dropped; a folder is none. */
function dropped(transfer) {
  const taken = new DataTransfer();
  for (const item of transfer.items) {
    if (item.kind !== "file" || item.webkitGetAsEntry?.()?.isDirectory) continue;
    const file = item.getAsFile();
    if (file) taken.items.add(file);
  }
  return taken.files;
}

function start() {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (go.getAttribute("aria-disabled") !== "true") send();
  });
  files.addEventListener("change", list);
  addEventListener("pageshow", () => {
    busy(null);
    status.textContent = "";
    list();
  });

  const place = at("drop");
  at("drop-hint").hidden = !matchMedia("(pointer: fine)").matches;
  const over = (yes) => place.classList.toggle("over", yes);
  // A file that misses the place is not opened instead of the page.
  for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault());
  place.addEventListener("dragover", () => over(true));
  place.addEventListener("dragleave", () => over(false));
  place.addEventListener("drop", (event) => {
    over(false);
    const found = dropped(event.dataTransfer);
    if (found.length) {
      files.files = found;
      list();
    }
  });
}

if (form) start();
