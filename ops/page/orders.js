// All orders, newest first, with a filter.
import { clock, el, orderLink, state, table } from "./dom.js";

export function orders() {
  const list = el("div", {});
  const text = el("input", { type: "search", id: "filter", placeholder: "order, customer, or status" });
  let latest = null;
  let before = "";
  const show = () => {
    if (!latest) return;
    const wanted = text.value.trim().toLowerCase();
    const found = latest.orders.filter((order) => !wanted ||
      [order.orderId, order.customerId, order.status, order.payment?.state ?? order.payment].some((value) => String(value ?? "").toLowerCase().includes(wanted)));
    const facts = JSON.stringify(found);
    if (facts === before) return;
    before = facts;
    list.replaceChildren(
      el("p", {}, latest.mode === "local" ? `${found.length} orders` : `${found.length} orders that are listed for attention; open any order by its ID`),
      table("Orders", ["Order", "Customer", "Status", "Payment", "Total", "Placed", "Waits for", "Next check"],
        found.map((order) => [
          orderLink(order.orderId), order.customerId, state(order.status), state(order.payment?.state ?? order.payment),
          order.total ? `${order.total} ${order.currency}` : "–", clock(order.createdAt), order.due?.step, clock(order.due?.at)])) ?? "");
  };
  text.addEventListener("input", () => {
    if (/^ord_[0-7][0-9A-HJKMNP-TV-Z]{25}$/.test(text.value.trim())) location.hash = `#/order/${text.value.trim()}`;
    show();
  });
  return {
    root: el("section", {}, el("h2", {}, "Orders"), el("p", {}, el("label", {}, "Find", text)), list),
    update(now) { latest = now; show(); },
  };
}
