// Numbers and instants in words.

const UNITS = ["kB", "MB", "GB", "TB", "PB", "EB"];

/** A number of bytes for people: decimal units, one digit after the point below ten. Mirrors `size_words` in Rust. */
export function sizeWords(bytes) {
  if (bytes < 1000) return bytes === 1 ? "1 byte" : `${bytes} bytes`;
  let value = bytes / 1000;
  let unit = 0;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value < 9.95 ? value.toFixed(1) : Math.round(value)} ${UNITS[unit]}`;
}

/** Milliseconds left, in the two largest units; seconds only in the last hour. */
export function leftWords(ms) {
  const all = Math.max(0, Math.ceil(ms / 1000));
  const [days, hours, minutes, seconds] = [Math.floor(all / 86400), Math.floor(all / 3600) % 24, Math.floor(all / 60) % 60, all % 60];
  if (days) return `${days} d ${hours} h left`;
  if (hours) return `${hours} h ${minutes} min left`;
  if (minutes) return `${minutes} min ${seconds} s left`;
  return `${seconds} s left`;
}

/** An instant in the reader's own zone and language. */
export function localTime(date) {
  return date.toLocaleString(undefined, { weekday: "short", year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", timeZoneName: "short" });
}

/** The link secret in a link or in a pasted text, or null. Marks that follow it, such as a full stop, are dropped. */
export function secretIn(text) {
  const part = text.slice(text.lastIndexOf("#") + 1).trim();
  return /^[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])/.exec(part)?.[0] ?? null;
}

/** Where a file lies below its link: each segment percent-encoded, the slashes kept. */
export function fileUrl(base, name) {
  return `${base}/${name.split("/").map(encodeURIComponent).join("/")}`;
}
