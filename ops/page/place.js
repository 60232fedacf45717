// Places orders.
import { call } from "./call.js";
import { button, el } from "./dom.js";

export function place(now) {
  const output = el("div", { "aria-live": "polite" });
  const cart = (changes) => ({ ...now.cart, ...changes });
  const send = (body) => call("/api/order/cart.json", body, output);
  const field = (name, label, value, type = "text", required = true) => el("label", {}, label, el("input", { name, value, type, required }));
  const form = el("form", {
    class: "row",
    onsubmit(event) {
      event.preventDefault();
      const given = Object.fromEntries(new FormData(form));
      send(cart({
        customerId: given.customerId,
        ...(given.reference.trim() ? { reference: given.reference.trim() } : {}),
        items: [{ productId: given.productId, quantity: Number(given.quantity), price: Number(given.price) }],
        checkout: { ...now.cart.checkout, name: given.name, email: given.email, shipping_address: given.address },
      }));
    },
  },
  field("customerId", "Customer", "8080"), field("reference", "Your reference (optional)", "", "text", false), field("productId", "Product", "1234"), field("quantity", "Quantity", "1", "number"),
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
