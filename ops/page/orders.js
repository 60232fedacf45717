// Orders, newest first: a live list with a filter, and on a developer's machine a search through the API.
import { button, clock, el, orderLink, say, state, table } from "./dom.js";
import { UNANSWERED, read } from "./call.js";

const STATUSES = ["pending", "invoiced", "paid", "shipped", "refunding", "cancelled"];
const ORDER_ID = /^ord_[0-7][0-9A-HJKMNP-TV-Z]{25}$/;

/** The order ID that a text is, in whatever case; null if it is none. */
function orderId(text) {
  const id = text.slice(0, 4).toLowerCase() + text.slice(4).toUpperCase();
  return ORDER_ID.test(id) ? id : null;
}

/** The list's columns: heads, and a cell from an order. */
const COMMON = {
  Order: (order) => orderLink(order.orderId),
  Customer: (order) => order.customerId,
  Reference: (order) => order.reference,
  Status: (order) => state(order.status),
};
const LIVE = {
  Payment: (order) => state(payment(order)),
  Total: (order) => order.total && `${order.total} ${order.currency}`,
  Placed: (order) => clock(order.createdAt),
  "Waits for": (order) => order.due?.step,
  "Next check": (order) => clock(order.due?.at),
};
const COLUMNS = {
  local: { ...COMMON, ...LIVE },
  // The facts that `ops/` has of an order.
  aws: { Order: COMMON.Order, Status: COMMON.Status, Payment: LIVE.Payment, "Waits for": LIVE["Waits for"], "Next check": LIVE["Next check"] },
  found: {
    ...COMMON,
    Total: (order) => `${order.totalAmount} ${order.currency}`,
    Placed: (order) => clock(order.createdAt),
  },
};

/** The payment's state, as the survey or the recorder has it. */
function payment(order) {
  return order.payment?.state ?? order.payment;
}

function matches(order, text) {
  const values = [order.orderId, order.customerId, order.reference, order.status, payment(order)];
  return values.some((value) => String(value ?? "").toLowerCase().includes(text.toLowerCase()));
}

function make() {
  const count = el("p", { id: "count", role: "status" });
  const list = el("div", {});
  const more = el("p", {});
  const call = el("div", { id: "call" });
  const output = el("div", { id: "answer" });
  const filter = el("input", { type: "search", id: "filter", autocomplete: "off" });
  const filterLabel = el("span", {});
  // `null` while the live list is shown; else the orders that the API has found, and the search.
  let search = null;
  // The search whose answer is awaited: an earlier one that is answered later is dropped.
  let awaited = null;
  let latest = null;
  let before = "";

  const show = () => {
    if (!latest) return;
    const all = search ? search.orders : latest.orders;
    const text = filter.value.trim();
    const shown = all.filter((order) => matches(order, text));
    const facts = JSON.stringify([awaited !== null, search !== null, search?.cursor, search?.refused, shown, all.length, text !== ""]);
    if (facts === before) return;
    before = facts;
    const columns = COLUMNS[search ? "found" : latest.mode];
    count.textContent = awaited ? "Searching …" : counted(shown.length, all.length, text);
    list.replaceChildren(table("Orders", Object.keys(columns), shown.map((order) => Object.values(columns).map((cell) => cell(order)))) ?? "");
    more.replaceChildren(...(search?.cursor ? [button("More", () => find(search.parameters, search.cursor), { id: "more" })] : []));
  };

  const counted = (shown, all, text) => {
    if (search?.refused) return "The API refused the search. Its answer is below.";
    const what = search ? " found" : latest.mode === "local" ? "" : " listed for attention";
    const rest = search?.cursor ? ". There may be more" : "";
    const hint = latest.mode === "aws" && text && !shown ? " Enter a whole order ID (ord_ and 26 characters) to open any order." : "";
    return `${text ? `${shown} of ${all}` : all} ${all === 1 ? "order" : "orders"}${what}${rest}.${hint}`;
  };

  const find = async (parameters, cursor) => {
    const mine = awaited = {};
    show();
    let answered;
    try {
      answered = await read("/api/orders", cursor ? { ...parameters, cursor } : parameters);
    } catch {
      if (mine !== awaited) return;
      awaited = null;
      say(UNANSWERED);
      show();
      return;
    }
    if (mine !== awaited) return;
    awaited = null;
    say(`/api/orders answered ${answered.status}.`);
    call.replaceChildren(...answered.call);
    output.replaceChildren(...answered.answer);
    const known = cursor ? search.orders : [];
    const found = answered.body?.orders ?? [];
    // After a refusal, the same page can be requested again.
    search = {
      parameters, orders: [...known, ...found], refused: !answered.body,
      cursor: answered.body ? answered.body.nextCursor : cursor,
    };
    back.hidden = false;
    show();
    // The button that had the focus was replaced.
    if (cursor) (list.querySelectorAll("tbody a")[known.length] ?? more.firstChild ?? filter).focus();
  };

  const back = button("Show the live list", () => {
    awaited = search = null;
    back.hidden = true;
    call.replaceChildren();
    output.replaceChildren();
    show();
    form.querySelector("input").focus();
  }, { id: "live", hidden: true });
  const field = (name, label) => el("label", {}, label, el("input", { name, maxlength: 64, autocomplete: "off" }));
  const form = el("form", {
    class: "row", role: "search", "aria-label": "Find orders", hidden: true,
    onsubmit(event) {
      event.preventDefault();
      const given = [...new FormData(form)].map(([name, value]) => [name, value.trim()]);
      find(Object.fromEntries(given.filter(([, value]) => value)));
    },
  },
  field("customerId", "Customer ID"), field("reference", "The shop's reference"),
  el("label", {}, "Status", el("select", { name: "status" }, el("option", { value: "" }, "any"), STATUSES.map((each) => el("option", {}, each)))),
  el("button", { type: "submit" }, "Find"), back);

  filter.addEventListener("input", () => {
    const id = orderId(filter.value.trim());
    if (id) {
      location.hash = `#/order/${id}`;
      filter.value = "";
    }
    show();
  });
  return {
    root: el("section", {},
      el("h2", {}, "Orders"), form, call,
      el("p", {}, el("label", { class: "wide" }, filterLabel, filter)), count, list, more, output),
    update(now) {
      latest = now;
      form.hidden = now.mode !== "local";
      filterLabel.textContent = now.mode === "local"
        ? "Filter this list by order, customer, reference, or status; a whole order ID opens the order"
        : "Filter this list, or open any order by its whole ID";
      show();
    },
  };
}

let page = null;

/** The page. It is made once, so a search and its answer are still there on the way back from an order. */
export function orders() {
  page ??= make();
  return page;
}
