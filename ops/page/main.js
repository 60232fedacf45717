// Polls the console's state and shows the page that the address names.
import { SILENT, clock, el, say, unsay } from "./dom.js";
import { overview } from "./overview.js";
import { orders } from "./orders.js";
import { order } from "./order.js";
import { mails } from "./mails.js";
import { faults } from "./faults.js";

const INTERVAL = 700;
const main = document.getElementById("main");
let shown = null;
let page = null;
// What was said about the last poll, if that failed.
let failure = null;

/** The page of an address: a function of the state that returns an object with `root` and `update`. */
function route() {
  const [, name, ...rest] = location.hash.split("/");
  switch (name) {
    case "orders": return orders();
    case "order": return order(rest[0]);
    case "mails": return mails(rest[0]);
    case "faults": return faults();
    default: return overview();
  }
}

function open() {
  page = route();
  main.replaceChildren(page.root);
  for (const link of document.querySelectorAll("nav a")) {
    const is = link.getAttribute("href") === (location.hash || "#/");
    if (is) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (shown) page.update(shown);
}

async function poll() {
  try {
    const answer = await fetch("/console/state", { headers: { "x-console": "1" } });
    const state = await answer.json();
    if (!answer.ok) throw new Error(state.detail);
    shown = state;
    document.getElementById("where").textContent = `${state.attention.where}${state.writes ? "" : ", read-only"}, read at ${clock(state.attention.at)}`;
    for (const link of document.querySelectorAll("[data-local]")) link.hidden = state.mode !== "local";
    await page.update(state);
    if (failure !== null) unsay(failure);
    failure = null;
  } catch (error) {
    failure = error instanceof TypeError ? SILENT : error.message;
    say(failure);
  }
  setTimeout(poll, INTERVAL);
}

addEventListener("hashchange", () => { open(); main.focus({ preventScroll: true }); });
open();
main.append(el("p", {}, ""));
poll();
