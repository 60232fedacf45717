// Mails as the customer sees them: HTML and text, light and dark, narrow and wide.
import { button, clock, el, table } from "./dom.js";

/** The mail as a client in that color scheme shows it: the page's own scheme decides nothing. */
function inScheme(html, scheme) {
  const query = /@media\s*\(prefers-color-scheme:\s*dark\)/g;
  return html.replace(query, scheme === "dark" ? "@media all" : "@media not all").replace('content="light dark"', `content="${scheme}"`);
}

export function mails(chosen) {
  const list = el("div", {});
  const view = el("div", {});
  const looks = { form: "html", scheme: "light", width: "wide" };
  let mail = null;
  let before = "";
  let opened = false;

  const choice = (name, values) => values.map((value) => button(value, () => { looks[name] = value; show(); }, { "aria-pressed": String(looks[name] === value) }));
  const show = () => {
    if (!mail) return;
    const narrow = looks.width === "narrow" ? "narrow" : "";
    const body = looks.form === "text"
      ? el("pre", { tabindex: 0, style: looks.width === "narrow" ? "max-width: 360px; white-space: pre-wrap" : "" }, mail.BodyText ?? "")
      : el("iframe", { class: `frame ${looks.scheme} ${narrow}`, sandbox: "", title: `Mail: ${mail.Subject}`, srcdoc: inScheme(mail.BodyHtml ?? "", looks.scheme) });
    view.replaceChildren(
      el("h3", { id: "subject" }, mail.Subject), mail.To ? el("p", {}, `To ${[mail.To].flat().join(", ")}`) : null,
      el("div", { class: "row", role: "group", "aria-label": "Form" }, choice("form", ["html", "text"]), choice("scheme", ["light", "dark"]), choice("width", ["wide", "narrow"])), body);
  };
  const open = async (address) => {
    const answer = await fetch(address, { headers: { "x-console": "1" } });
    if (!answer.ok) return;
    mail = await answer.json();
    show();
  };
  return {
    root: el("section", {}, el("h2", {}, "Mails"), list, view),
    update(now) {
      const facts = JSON.stringify([now.mails, now.previews]);
      if (facts === before) return;
      before = facts;
      const sent = [...(now.mails ?? [])].reverse();
      list.replaceChildren(
        table("Sent mails", ["Subject", "To", "At"], sent.map((each) => [
          button(each.subject, () => open(`/console/mail/${encodeURIComponent(each.id)}`)), [each.to].flat().join(", "), clock(each.at)]))
          ?? el("p", {}, "No mail was sent yet."),
        el("details", {}, el("summary", {}, "Every kind of mail, with edge values"),
          el("ul", {}, (now.previews ?? []).map((name) => el("li", {}, button(name.replace("_", ", "), () => open(`/console/preview/${name}`)))))));
      if (chosen && !opened) {
        opened = true;
        open(`/console/mail/${chosen}`);
      }
    },
  };
}
