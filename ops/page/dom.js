// Small tools for building the page. Text is always set as text, so nothing that the API returns can become markup.

/** An element with properties (`on…` listeners, `dataset`, attributes) and children (elements or text). */
export function el(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key === "class") made.className = value;
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

/** A table; `rows` are arrays of cells. On a narrow screen each row becomes a block, and each cell shows its head. */
export function table(caption, heads, rows) {
  if (!rows.length) return null;
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
    el("table", {},
      el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))),
      el("tbody", {}, rows.map((row) => el("tr", {}, row.map((cell, n) => el("td", { "data-head": heads[n], class: isNothing(cell) ? "nothing" : "" }, cell === false ? "" : isNothing(cell) ? "–" : cell)))))));
}

function isNothing(cell) {
  return cell === undefined || cell === null || cell === false || cell === "" || cell === "–";
}

/** A state as a coloured word. */
export function word(text, kind = "") {
  return el("span", { class: `word ${kind}` }, text ?? "–");
}

const GOOD = ["shipped", "paid", "captured", "refunded", "free", "ok", "sent", "OK"];
const BAD = ["declined", "refund_failed", "unknown", "failed", "overdue", "unswept", "payment_unknown", "ALARM"];

/** A status or a payment state as a coloured word. */
export function state(text) {
  return text ? word(text, GOOD.includes(text) ? "ok" : BAD.includes(text) ? "bad" : "wait") : "–";
}

/** A link to an order's page. */
export function orderLink(id) {
  return id ? el("a", { href: `#/order/${id}`, class: "mono" }, id) : "–";
}

/** A time of day, from milliseconds or an ISO text; with its date unless that is today. */
export function clock(at) {
  if (at === undefined || at === null) return "–";
  const date = new Date(typeof at === "string" && !/^\d+$/.test(at) ? at : Number(at));
  const time = date.toLocaleTimeString([], { hour12: false });
  return date.toDateString() === new Date().toDateString() ? time : `${date.toLocaleDateString()} ${time}`;
}

/** A duration, as `make ops-overdue` prints it. */
export function duration(seconds) {
  const [minutes, hours, days] = [60, 3600, 86400].map((unit) => Math.floor(seconds / unit));
  if (minutes < 1) return `${seconds} s`;
  if (hours < 1) return `${minutes} min`;
  return days < 1 ? `${hours} h ${minutes % 60} min` : `${days} d ${hours % 24} h`;
}

/** JSON for people; a text is shown as it is. */
export function pretty(value) {
  return el("pre", { tabindex: 0 }, typeof value === "string" ? value : JSON.stringify(value, null, 2));
}

/** A JSON text with line breaks. Numbers keep their digits, which parsing would lose: 36.0 is not 36. */
export function indented(text) {
  try { JSON.parse(text); } catch { return text; }
  let depth = 0;
  const line = (change) => `\n${"  ".repeat((depth += change))}`;
  return text.replace(/"(?:[^"\\]|\\.)*"|[[\]{},:]|[^\s"[\]{},:]+|\s+/g, (token) => {
    if (/^\s/.test(token)) return "";
    switch (token) {
      case "{": case "[": return token + line(1);
      case "}": case "]": return line(-1) + token;
      case ",": return token + line(0);
      case ":": return ": ";
      default: return token;
    }
  });
}

/** Says something to everybody, also to screen readers. */
export function say(text) {
  document.getElementById("said").textContent = text;
}

/** Takes a text back, unless something else has been said since. */
export function unsay(text) {
  if (document.getElementById("said").textContent === text) say("");
}

/** What to say when the console does not answer. */
export const SILENT = "The console does not answer. Is it still running?";

/** One of the console's actions; says what was done or why not. */
export async function act(action, asked = {}) {
  try {
    const answer = await fetch(`/console/${action}`, {
      method: "POST", headers: { "content-type": "application/json", "x-console": "1" }, body: JSON.stringify(asked),
    });
    const said = await answer.json();
    say(said.said ?? said.detail);
    return answer.ok;
  } catch {
    say(SILENT);
    return false;
  }
}

/** A button. */
export function button(text, pressed, properties = {}) {
  return el("button", { type: "button", onclick: pressed, ...properties }, text);
}
