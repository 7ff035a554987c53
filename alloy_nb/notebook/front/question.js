// A question before a call, in a cell and in a panel. Every text is set as text: none becomes markup.

/** @import {Question} from "./shapes.js" */
import { button, composes, fresh, make } from "./nodes.js";

/** @param {Question} question */
function subjectOf(question) {
  const node = make("div", "alloy-ask-subject");
  node.tabIndex = 0; // so that the keyboard can scroll it
  node.setAttribute("role", "region");
  node.setAttribute("aria-label", question.kind === "diff" ? "What would change" : "What would run");
  if (question.kind !== "diff") {
    node.textContent = question.subject;
    return node;
  }
  for (const line of question.subject.replace(/\n$/, "").split("\n")) {
    const heading = line.startsWith("+++ ") || line.startsWith("--- ");
    const kind = heading ? "place" : { "+": "added", "-": "removed", "@": "place" }[line[0]];
    node.append(make("span", `alloy-ask-line${kind ? ` alloy-ask-${kind}` : ""}`, line));
  }
  return node;
}

/**
 * @param {Question} question
 * @param {(choice: string, text: string) => void} answered
 */
export function cardOf(question, answered) {
  const id = `alloy-ask-${fresh()}`; // each card in a cell has this module of its own
  const card = make("section", "alloy-ask");
  card.tabIndex = -1;
  card.setAttribute("role", "group");
  card.setAttribute("aria-labelledby", `${id}-title`);
  card.setAttribute("aria-describedby", `${id}-warning ${id}-risk`);
  const title = make("p", "alloy-ask-title", question.title);
  title.id = `${id}-title`;
  const subject = subjectOf(question);
  const warning = make("p", "alloy-ask-warning", question.warning ?? "");
  warning.id = `${id}-warning`;
  warning.hidden = !question.warning;
  const risk = make("p", "alloy-ask-note", question.risk ?? "");
  risk.id = `${id}-risk`;
  risk.hidden = !question.risk;

  let sent = false;
  /** @type {(choice: string, text?: string) => void} */
  const answer = (choice, text = "") => {
    if (sent) return;
    sent = true;
    for (const node of card.querySelectorAll("button, input, textarea")) {
      /** @type {HTMLButtonElement} */ (node).disabled = true;
    }
    answered(choice, text);
  };
  const plain = (/** @type {string} */ label, /** @type {() => void} */ act) =>
    button(label, act, { name: "alloy-ask-other" });
  const allow = make("div", "alloy-ask-row");
  allow.append(button("Allow once", () => answer("once"), { name: "alloy-ask-main" }));
  if (question.lasting) {
    allow.append(plain("Allow exactly this for the session", () => answer("session")));
    allow.append(plain("Allow all in this turn", () => answer("turn")));
  }
  const reason = make("input");
  reason.type = "text";
  reason.placeholder = "Why not? (optional; the model is told)";
  reason.setAttribute("aria-label", "Why not? Optional; the model is told");
  reason.addEventListener("keydown", (event) => {
    // Enter in an empty field is no answer.
    const given = reason.value.trim();
    if (event.key === "Enter" && !composes(event) && given) answer("denied", reason.value);
  });
  const deny = make("div", "alloy-ask-row");
  deny.append(plain("Deny", () => answer("denied", reason.value)), reason);
  const choices = make("div", "", allow, deny);
  const editing = make("div");
  editing.hidden = true;
  if (question.editable !== null && question.editable !== undefined) {
    const area = make("textarea", "alloy-ask-edit");
    area.value = question.editable;
    area.spellcheck = false;
    area.rows = Math.min(20, Math.max(4, question.editable.split("\n").length + 1));
    const what = question.argument ? `the ${question.argument}` : "the arguments, as JSON";
    area.setAttribute("aria-label", `Edit ${what}`);
    const show = (/** @type {boolean} */ on) => {
      editing.hidden = !on;
      choices.hidden = on;
      subject.hidden = on && question.kind !== "diff";
      (on ? area : change).focus();
    };
    const change = plain("Edit…", () => show(true));
    allow.append(change);
    const run = () => answer("edited", area.value);
    area.addEventListener("keydown", (event) => {
      if (composes(event)) return;
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) run();
      if (event.key === "Escape") show(false);
    });
    const row = make("div", "alloy-ask-row");
    row.append(button("Run the edited version", run, { name: "alloy-ask-main" }));
    row.append(plain("Back", () => show(false)));
    editing.append(make("p", "alloy-ask-note", `Edit ${what}:`), area, row);
  }
  card.append(title, subject, warning, risk, choices, editing);
  return card;
}
