// Places orders and shows each call as curl, with its answer.
import { button, el, indented, orderLink, pretty, say } from "./dom.js";

/** A key that no other call has; letters only, because digits could look like a card number. */
function key() {
  const letters = crypto.getRandomValues(new Uint8Array(20));
  return `console-${[...letters].map((byte) => String.fromCharCode(97 + (byte % 26))).join("")}`;
}

function curl(path, body, idempotencyKey) {
  const quoted = JSON.stringify(body, null, 2).replaceAll("'", "'\\''");
  return `curl -s ${location.origin}${path} \\\n  -H 'content-type: application/json' \\\n  -H 'Idempotency-Key: ${idempotencyKey}' \\\n  -d '${quoted}'`;
}

/** Calls the API and shows the call and its answer in `output`. */
export async function call(path, body, output) {
  const idempotencyKey = key();
  const answer = await fetch(path, {
    method: "POST", headers: { "content-type": "application/json", "idempotency-key": idempotencyKey }, body: JSON.stringify(body),
  });
  const text = await answer.text();
  const order = /"orderId":"(ord_\w+)"/.exec(text)?.[1];
  output.replaceChildren(
    el("h3", {}, `Answer ${answer.status}`), pretty(indented(text)),
    order ? el("p", { id: "watch" }, "Watch it: ", orderLink(order)) : null,
    el("h3", {}, "The call"), pretty(curl(path, body, idempotencyKey)));
  say(`${path} answered ${answer.status}.`);
  return order;
}

export function place(now) {
  const output = el("div", { "aria-live": "polite" });
  const cart = (changes) => ({ ...now.cart, ...changes });
  const send = (body) => call("/api/order/cart.json", body, output);
  const field = (name, label, value, type = "text") => el("label", {}, label, el("input", { name, value, type, required: true }));
  const form = el("form", {
    class: "row",
    onsubmit(event) {
      event.preventDefault();
      const given = Object.fromEntries(new FormData(form));
      send(cart({
        customerId: given.customerId,
        items: [{ productId: given.productId, quantity: Number(given.quantity), price: Number(given.price) }],
        checkout: { ...now.cart.checkout, name: given.name, email: given.email, shipping_address: given.address },
      }));
    },
  },
  field("customerId", "Customer", "8080"), field("productId", "Product", "1234"), field("quantity", "Quantity", "1", "number"),
  field("price", "Price", "19.99"), field("name", "Name", now.cart.checkout.name), field("email", "Email", now.cart.checkout.email),
  field("address", "Address", now.cart.checkout.shipping_address), el("button", { type: "submit" }, "Place this order"));
  return el("div", {},
    el("h2", {}, "Place an order"),
    el("p", {}, button("Place the README's order", () => send(now.cart), { id: "place" })),
    el("details", {}, el("summary", {}, "Customers with another outcome"),
      el("ul", {}, Object.entries(now.customers).map(([customer, outcome]) => el("li", {},
        button(customer, () => send(cart({ customerId: customer }))), ` ${outcome}`)))),
    el("details", {}, el("summary", {}, "An order of your own"), form),
    output);
}
