// What every page can do: copy buttons, and deadlines in local time with the time left.

import { leftWords, localTime } from "./words.js";

/**
 * Shows a deadline in `place` (a `time` and a `.left` inside it) until it is over.
 * `skew`: the server's clock minus ours, in milliseconds.
 */
export function showDeadline(place, deadline, skew = 0, over = () => {}) {
  const end = new Date(deadline);
  const time = place.querySelector("time");
  const left = place.querySelector(".left");
  if (Number.isNaN(end.getTime())) return;
  time.dateTime = deadline;
  time.textContent = localTime(end);
  const tick = () => {
    const ms = end.getTime() - (Date.now() + skew);
    if (ms > 0) {
      left.textContent = leftWords(ms);
      return true;
    }
    place.textContent = "The deadline has passed. The files are gone.";
    over();
    return false;
  };
  if (tick()) {
    const timer = setInterval(() => tick() || clearInterval(timer), 1000);
  }
}

async function copy(button) {
  const source = button.parentElement.querySelector("input, code");
  try {
    await navigator.clipboard.writeText(source.value ?? source.textContent);
    button.textContent = "Copied";
  } catch {
    // No clipboard here (plain http, say): select the text, so that the reader can copy it.
    if (source.select) source.select();
    else getSelection().selectAllChildren(source);
    button.textContent = "Selected";
  }
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
}

for (const button of document.querySelectorAll("button[data-copy]")) {
  button.hidden = false;
  button.setAttribute("aria-live", "polite");
  button.addEventListener("click", () => copy(button));
}

for (const place of document.querySelectorAll("[data-deadline]")) {
  showDeadline(place, place.querySelector("time").dateTime);
}
