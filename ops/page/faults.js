// Break it and watch it heal.
import { act, button, el, word } from "./dom.js";

const ONCE = {
  kill: "Kill the functions",
  lose: "Lose the message",
  double: "Deliver the message twice",
};

export function faults() {
  const armed = el("div", { "aria-live": "polite" });
  const toggles = el("p", { class: "row" });
  const once = el("p", { class: "row" });
  const worker = el("select", { id: "function" });
  let before = "";
  return {
    root: el("section", {},
      el("h2", {}, "Break it and watch it heal"),
      el("p", {}, "Arm a fault, place an order on the overview, and open its page: the lanes show the fault and the repair, and the ledger stays at one charge. ",
        "A lost or killed step is taken up again by the sweep or by its queue, within a few minutes."),
      once, toggles, armed),
    update(now) {
      if (!worker.options.length) {
        worker.append(...now.workers.map((name) => el("option", { selected: name === "PaymentWorker" }, name)));
        once.replaceChildren(el("label", {}, "At the next invocation of", worker),
          ...Object.entries(ONCE).map(([kind, text]) => button(text, () => act("fault", { kind, function: worker.value }))));
      }
      const facts = JSON.stringify(now.faults);
      if (facts === before) return;
      before = facts;
      const { armed: waiting, streamStopped, throttled } = now.faults;
      toggles.replaceChildren(
        button(streamStopped ? "Start the stream again" : "Stop the stream", () => act("fault", { kind: "stream" }), { "aria-pressed": String(streamStopped) }),
        button(throttled ? "Let the partner answer again" : "Throttle the partner", () => act("fault", { kind: "throttle" }), { "aria-pressed": String(throttled) }),
        button("Clear all faults", () => act("heal")));
      armed.replaceChildren(el("p", {}, Object.keys(waiting).length
        ? ["Armed: ", ...Object.entries(waiting).map(([name, kind]) => word(`${kind} at ${name}`, "wait"))]
        : "No fault is armed."));
    },
  };
}
