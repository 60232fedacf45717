// Calls the API, and shows each call as curl with its answer.
import { el, indented, orderLink, pretty, say } from "./dom.js";

/** A key that no other call has; letters only, because digits could look like a card number. */
function key() {
  const letters = crypto.getRandomValues(new Uint8Array(20));
  return `console-${[...letters].map((byte) => String.fromCharCode(97 + (byte % 26))).join("")}`;
}

/** What to say when the API does not answer. */
export const UNANSWERED = "The API does not answer. Is it still running?";

const asCall = (curl) => [el("h3", {}, "The call"), pretty(curl)];
const asAnswer = (status, text) => [el("h3", {}, `Answer ${status}`), pretty(indented(text))];

/** Posts to the API and shows the call and its answer in `output`. */
export async function call(path, body, output) {
  const idempotencyKey = key();
  const quoted = JSON.stringify(body, null, 2).replaceAll("'", "'\\''");
  const curl = `curl -s ${location.origin}${path} \\\n  -H 'content-type: application/json' \\\n  -H 'Idempotency-Key: ${idempotencyKey}' \\\n  -d '${quoted}'`;
  // An earlier answer must not look like this call's.
  output.replaceChildren(...asCall(curl));
  let answer, text;
  try {
    answer = await fetch(path, {
      method: "POST", headers: { "content-type": "application/json", "idempotency-key": idempotencyKey }, body: JSON.stringify(body),
    });
    text = await answer.text();
  } catch {
    say(UNANSWERED);
    return;
  }
  const order = /"orderId":"(ord_\w+)"/.exec(text)?.[1];
  const link = order ? [el("p", { id: "watch" }, "Watch it: ", orderLink(order))] : [];
  output.replaceChildren(...asAnswer(answer.status, text), ...link, ...asCall(curl));
  say(`${path} answered ${answer.status}.`);
}

/** Reads from the API: the answer's body (null if the API refused), and the call and the answer to show. */
export async function read(path, parameters) {
  // This encodes each character but letters, digits, and *-._, so nothing ends curl's quotes.
  const query = new URLSearchParams(parameters).toString().replaceAll("+", "%20");
  const address = query ? `${path}?${query}` : path;
  const answer = await fetch(address);
  const text = await answer.text();
  return {
    body: answer.ok ? JSON.parse(text) : null,
    status: answer.status,
    call: asCall(`curl -s '${location.origin}${address}'`),
    answer: asAnswer(answer.status, text),
  };
}
