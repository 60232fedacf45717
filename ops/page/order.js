// One order as lanes over time.
import { act, button, clock, el, pretty, state } from "./dom.js";
import { call } from "./call.js";

const LANES = ["HTTP", "table", "relay", "queue", "worker", "partner", "carrier", "SES"];

export function order(id) {
  const head = el("div", { id: "summary" });
  const output = el("div", { "aria-live": "polite" });
  const steps = el("ol", { class: "steps", "aria-label": "Steps" });
  const lines = el("div", {});
  const known = new Map();
  let summary = null;
  let before = "";
  const root = el("section", {},
    el("h2", {}, "Order ", el("span", { class: "mono" }, id)), head, output,
    el("div", { class: "heads", "aria-hidden": "true" }, el("span", {}, "time"), LANES.map((lane) => el("span", {}, lane))),
    steps, lines);
  const note = (text, kind = "") => {
    if (head.textContent !== text) head.replaceChildren(el("p", { class: kind }, text));
  };
  return {
    root,
    async update(now) {
      const answer = await fetch(`/console/order/${id}`, { headers: { "x-console": "1" } });
      const read = await answer.json();
      if (!answer.ok || !read) {
        note(read?.detail ?? "There is no such order.", "alert");
        return;
      }
      if (read.order) {
        summary ??= makeSummary(read.order, now, output);
        if (head.firstChild !== summary.root) head.replaceChildren(summary.root);
        const facts = JSON.stringify(read.order);
        if (facts !== before) summary.update(read.order);
        before = facts;
      } else note("Not written yet.");
      for (const step of read.steps) draw(step, read, steps, known);
      logs(read.lines ?? [], lines);
    },
  };
}

/** An order's facts and actions. They stay in place while the order changes, so an amount that is being typed is not lost. */
function makeSummary({ customerId, orderId, currency }, now, output) {
  const facts = el("p", {});
  const stored = el("div", {});
  const mine = { customerId, orderId };
  const local = now.mode === "local";
  const amount = el("input", { type: "number", min: 0, step: "any", value: 1, "aria-label": `Amount to refund, in ${currency}` });
  const refund = el("span", { class: "row" }, amount,
    button("Refund", () => call("/api/order/refund.json", { ...mine, amount: Number(amount.value) }, output)));
  return {
    root: el("div", {}, facts,
      el("div", { class: "row" },
        local ? [button("Cancel", () => call("/api/order/cancel.json", { ...mine, reason: "by the console" }, output)), refund] : null,
        now.writes ? button("Check now", () => act("requeue", { what: orderId })) : null),
      el("details", {}, el("summary", {}, "The stored item"), stored)),
    update(item) {
      const payment = item.payment ?? {};
      const due = item.dueStep ? `${item.dueStep.split("#")[0]} is due at ${clock(item.dueAt)} (checked ${item.dueTries ?? 0} times)` : "nothing is due";
      const held = payment.state === "processing" && payment.leaseUntil ? `, held until ${clock(payment.leaseUntil)}` : "";
      facts.replaceChildren(state(item.status), " ", payment.state ? state(payment.state) : "",
        ` version ${item.version}, ${item.total} ${item.currency}, ${due}${held}`, item.shipment ? `, tracking number ${item.shipment.trackingNumber}` : "");
      refund.hidden = !["paid", "shipped"].includes(item.status);
      stored.replaceChildren(pretty(item));
    },
  };
}

function draw(step, read, list, known) {
  const facts = JSON.stringify(step);
  const drawn = known.get(step.number);
  if (drawn?.facts === facts) return;
  const took = step.end !== null && step.end > step.at ? ` ${step.end - step.at} ms` : "";
  const title = `${step.title}${took}${step.outcome === "running" ? " …" : ""}`;
  const body = el("div", { class: "body" });
  const fill = () => {
    const detail = step.detail ?? {};
    const lines = (read.lines ?? []).filter((line) => line.service && line.service === step.service && line.at >= step.at - 5 && line.at <= (step.end ?? Infinity) + 50);
    body.replaceChildren(
      Object.keys(detail).length ? pretty(detail) : el("p", {}, "No further details."),
      lines.length ? el("div", {}, el("strong", {}, "Log lines"), pretty(lines.map((line) => JSON.stringify(line.fields)).join("\n"))) : null);
  };
  const details = el("details", { style: `grid-column: ${LANES.indexOf(step.lane) + 2}`, ontoggle: fill },
    el("summary", {}, el("span", { class: "lane" }, `${step.lane}: `), title), body);
  const at = new Date(step.at);
  const time = el("time", { datetime: at.toISOString() }, `${clock(step.at)}.${String(at.getMilliseconds()).padStart(3, "0")}`);
  const row = el("li", { class: `step ${step.outcome}`, "data-lane": step.lane }, time, details);
  if (drawn) {
    details.open = drawn.row.querySelector("details").open;
    drawn.row.replaceWith(row);
  } else {
    const later = [...list.children].find((other) => Number(other.dataset.at) > step.at);
    list.insertBefore(row, later ?? null);
  }
  row.dataset.at = step.at;
  known.set(step.number, { facts, row });
}

function logs(lines, place) {
  if (place.dataset.count === String(lines.length)) return;
  place.dataset.count = lines.length;
  place.replaceChildren(...(lines.length ? [el("details", {}, el("summary", {}, `All ${lines.length} log lines`), pretty(lines.map((line) => JSON.stringify(line.fields)).join("\n")))] : []));
}
