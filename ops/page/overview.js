// What needs attention, red first; then, on a developer's machine, orders to place.
import { SILENT, act, button, clock, duration, el, orderLink, say, state, table, word } from "./dom.js";
import { place } from "./place.js";

const REDRIVES = {
  nothing: "does nothing: the step is done",
  try_again: "tries the step again",
  too_early: "returns: an earlier step is missing",
  unknown_order: "returns: the order does not exist",
  unreadable: "returns: not a message of this service",
};

export function overview() {
  const attention = el("section", { "aria-labelledby": "attention" });
  const placing = el("section", {});
  const queues = el("section", {});
  const ledger = el("section", {});
  let placed = false;
  const before = {};
  // Draws a section again only if its facts have changed: drawing takes the focus away from its buttons.
  const draw = (name, facts, section, parts) => {
    const text = JSON.stringify(facts);
    if (before[name] === text) return;
    before[name] = text;
    section.replaceChildren(...parts());
  };
  return {
    root: el("div", {}, attention, placing, queues, ledgerOfMails(), ledger),
    update(now) {
      if (now.mode === "local" && !placed) {
        placing.replaceChildren(place(now));
        placed = true;
      }
      // The survey's time and the ages change with every survey.
      const { at, queues: waiting, ...rest } = now.attention;
      draw("attention", [rest, now.alarms, now.alarmsUnknown], attention, () => needs(now));
      draw("queues", [waiting.map((queue) => [queue.queue, queue.count]), rest.deadLetters], queues, () => depths(now));
      for (const queue of waiting) queues.querySelector(`[data-age="${queue.queue}"]`)?.replaceChildren(age(queue));
      draw("ledger", [now.ledger], ledger, () => (now.ledger ? charges(now) : []));
    },
  };
}

function needs(now) {
  const survey = now.attention;
  const alarms = (now.alarms ?? []).filter((alarm) => alarm.state === "ALARM");
  const calm = !survey.needsAttention && !alarms.length;
  const dead = survey.deadLetters.flatMap((queue) => queue.messages.map((message) => ({ ...message, queue: queue.queue })));
  return [
    el("h2", { id: "attention" }, "What needs attention"),
    el("p", { class: calm ? "calm" : "alert" }, calm ? "Nothing needs attention." : "Something needs attention: see the lists below."),
    now.alarmsUnknown ? el("p", { class: "alert" }, `The alarms are unknown. ${now.alarmsUnknown}`) : null,
    alarms.length ? el("ul", {}, alarms.map((alarm) => el("li", {}, word(alarm.name, "bad"), ` ${alarm.description}`))) : null,
    survey.orders.length ? el("h3", {}, "Waiting orders") : null,
    table("Waiting orders", ["Order", "Status", "Payment", "Waits for", "Next check", "Tries", "Why", ""],
      survey.orders.map((order) => [
        orderLink(order.orderId), state(order.status), state(order.payment?.state), order.due?.step, clock(order.due?.at),
        order.due?.tries, el("span", {}, order.reasons.flatMap((reason) => [state(reason), " "])),
        now.writes && button("Check now", () => act("requeue", { what: order.orderId })),
      ])),
    dead.length ? el("h3", {}, "Dead letters") : null,
    table("Dead letters", ["Queue", "Event", "Order", "Sent", "A redrive", ""],
      dead.map((letter) => [
        letter.queue, letter.type ?? "unreadable", orderLink(letter.orderId), clock(letter.sentAt), REDRIVES[letter.redrive] ?? letter.redrive,
        now.writes && letter.redrive !== "try_again" && button("Drop", () => drop(letter))])),
    survey.mails.length ? el("h3", {}, "Parked mails") : null,
    parked("Parked mails", survey.mails, now.writes),
    survey.relayFailures ? el("p", { class: "alert" }, `Relay failures: ${survey.relayFailures}`) : null,
  ].filter(Boolean);
}

/** A table of parked mails. `gone` is called with a mail that is no longer parked. */
function parked(caption, mails, writes, gone = () => {}) {
  const press = async (action, mail) => { if (await act(action, { what: mail.emailId })) gone(mail); };
  return table(caption, ["Mail", "State", "Tries", "Since", ""],
    mails.map((mail) => [
      el("span", { class: "mono" }, mail.emailId), state(mail.state), mail.tries, clock(mail.since),
      writes && el("span", { class: "row" },
        // Only the shop can have a mail sent that it requested.
        mail.isOwn ? button("Send again", () => press("resend", mail)) : null, button("Seen", () => press("seen", mail)))]));
}

/** Reads the whole mail ledger, but only when the button is pressed: it costs the table's whole size. */
function ledgerOfMails() {
  const output = el("div", { id: "parked-mails", "aria-live": "polite" });
  const show = ({ at, writes, mails }) => {
    const gone = (mail) => show({ at, writes, mails: mails.filter((other) => other !== mail) });
    output.replaceChildren(
      el("p", {}, `Parked in the 7 days before ${clock(at)}: ${mails.length}.`),
      parked("Parked mails of the last 7 days", mails, writes, gone) ?? "");
  };
  const read = async () => {
    try {
      const answer = await fetch("/console/parked-mails", { headers: { "x-console": "1" } });
      const found = await answer.json();
      if (answer.ok) show(found);
      else say(found.detail);
    } catch {
      say(SILENT);
    }
  };
  return el("section", {}, el("h2", {}, "Mail ledger"), el("p", {}, button("Read the parked mails of the last 7 days", read)), output);
}

/** Deletes a dead letter, once the operator has confirmed it. */
function drop(letter) {
  const question = `Delete this message of the ${letter.queue} queue (${letter.type ?? "unreadable"}, ${letter.orderId ?? "no order"})? It cannot be restored.`;
  if (confirm(question)) act("drop", { what: `${letter.queue}/${letter.messageId}` });
}

function depths(now) {
  const dead = Object.fromEntries(now.attention.deadLetters.map((queue) => [queue.queue, queue.count]));
  return [
    el("h2", {}, "Queues"),
    el("div", { class: "cards", id: "queues" }, now.attention.queues.map((queue) => el("div", { class: "card" },
      el("strong", {}, queue.queue), el("div", {}, queue.count ? [`${queue.count} waiting, `, el("span", { "data-age": queue.queue })] : "nothing waits"),
      el("div", {}, dead[queue.queue] ? word(`${dead[queue.queue]} dead letters`, "bad") : "no dead letters"),
      now.writes && dead[queue.queue] ? button("Redrive", () => act("redrive", { what: queue.queue }), { "aria-label": `Redrive ${queue.queue}` }) : null))),
    now.writes && now.mode === "local" ? el("p", {}, button("Run the sweep now", () => act("sweep"))) : null,
  ].filter(Boolean);
}

function age(queue) {
  return queue.oldestSeconds === null ? `age unknown: ${queue.ageUnknown}` : `the oldest for ${duration(queue.oldestSeconds)}`;
}

function charges(now) {
  const counts = new Map();
  for (const charge of now.ledger) counts.set(charge.invoiceId, (counts.get(charge.invoiceId) ?? 0) + 1);
  const twice = [...counts].filter(([, count]) => count > 1);
  return [
    el("h2", {}, "The billing partner's ledger"),
    el("p", { class: twice.length ? "alert" : "calm" }, twice.length
      ? `Charged more than once: ${twice.map(([invoice]) => invoice).join(", ")}`
      : `Charges: ${now.ledger.length}. Invoices: ${counts.size}. No invoice was charged twice.`),
    table("Charges", ["Invoice", "Attempt", "Amount", "Reference"],
      now.ledger.slice(-20).reverse().map((charge) => [
        el("span", { class: "mono" }, charge.invoiceId), charge.attempt, `${charge.amount} ${charge.currency}`,
        el("span", { class: "mono" }, charge.reference)])),
  ].filter(Boolean);
}
