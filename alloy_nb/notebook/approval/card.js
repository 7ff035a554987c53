// The question before a call, in a cell. Every text is set with textContent: none becomes markup.

let numbers = 0;

function make(tag, name, text) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text !== undefined) node.textContent = text;
  return node;
}

function button(label, name, act) {
  const node = make("button", name, label);
  node.type = "button";
  node.addEventListener("click", act);
  return node;
}

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
    const kinds = { "+": "added", "-": "removed", "@": "place" };
    const heading = line.startsWith("+++ ") || line.startsWith("--- ");
    const kind = heading ? "place" : kinds[line[0]];
    node.append(make("span", `alloy-ask-line${kind ? ` alloy-ask-${kind}` : ""}`, line));
  }
  return node;
}

// Whoever is writing somewhere else is not taken away from there.
function isWriting(card) {
  const active = document.activeElement;
  if (!active || active === document.body) return false;
  const cell = card.closest(".jp-Cell");
  if (cell && cell.contains(active)) return false;
  return active.matches("input, textarea, select, [contenteditable='true']");
}

function render({ model, el }) {
  const question = model.get("question");
  const id = `alloy-ask-${++numbers}`;
  let sent = false;

  const card = make("section", "alloy-ask");
  card.tabIndex = -1;
  card.setAttribute("role", "group");
  card.setAttribute("aria-labelledby", `${id}-title`);
  card.setAttribute("aria-describedby", `${id}-warning ${id}-risk`);
  // JupyterLab takes Enter and letters for commands of the notebook, before they come here.
  card.dataset.lmSuppressShortcuts = "true";

  const title = make("p", "alloy-ask-title", question.title);
  title.id = `${id}-title`;
  const subject = subjectOf(question);
  const warning = make("p", "alloy-ask-warning", question.warning);
  warning.id = `${id}-warning`;
  warning.hidden = !question.warning;
  const risk = make("p", "alloy-ask-note", question.risk);
  risk.id = `${id}-risk`;
  const status = make("div", "alloy-ask-hidden");
  status.setAttribute("role", "status");

  function answer(choice, text) {
    if (sent) return;
    sent = true;
    for (const node of card.querySelectorAll("button, input, textarea")) node.disabled = true;
    status.textContent = "Your answer was sent.";
    model.send({ choice, text: text || "" });
  }

  const choices = make("div");
  const allow = make("div", "alloy-ask-row");
  allow.append(button("Allow once", "alloy-ask-main", () => answer("once")));
  if (question.lasting) {
    allow.append(button("Allow exactly this for the session", "", () => answer("session")));
    allow.append(button("Allow all in this turn", "", () => answer("turn")));
  }
  const deny = make("div", "alloy-ask-row");
  const reason = make("input");
  reason.type = "text";
  reason.placeholder = "Why not? (optional; the model is told)";
  reason.setAttribute("aria-label", "Why not? Optional; the model is told");
  reason.addEventListener("keydown", (event) => {
    // Enter in an empty field is no answer.
    if (event.key === "Enter" && !event.isComposing && reason.value.trim()) {
      answer("denied", reason.value);
    }
  });
  deny.append(button("Deny", "", () => answer("denied", reason.value)), reason);
  choices.append(allow, deny);

  const editing = make("div");
  editing.hidden = true;
  if (question.editable !== null) {
    const area = make("textarea", "alloy-ask-edit");
    area.value = question.editable;
    area.spellcheck = false;
    area.rows = Math.min(20, Math.max(4, question.editable.split("\n").length + 1));
    const what = question.argument ? `the ${question.argument}` : "the arguments, as JSON";
    area.setAttribute("aria-label", `Edit ${what}`);
    const show = (on) => {
      editing.hidden = !on;
      choices.hidden = on;
      subject.hidden = on && question.kind !== "diff";
      (on ? area : change).focus();
    };
    const change = button("Edit…", "", () => show(true));
    allow.append(change);
    const row = make("div", "alloy-ask-row");
    row.append(
      button("Run the edited version", "alloy-ask-main", () => answer("edited", area.value)),
      button("Back", "", () => show(false)),
    );
    area.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) answer("edited", area.value);
      if (event.key === "Escape") show(false);
    });
    editing.append(make("p", "alloy-ask-note", `Edit ${what}:`), area, row);
  }

  // Nothing typed here is the notebook's, and Escape decides nothing.
  for (const kind of ["keydown", "keypress", "keyup"]) {
    card.addEventListener(kind, (event) => event.stopPropagation());
  }
  card.append(title, subject, warning, risk, choices, editing, status);
  el.append(card);

  requestAnimationFrame(() => {
    if (!isWriting(card)) card.focus();
    status.textContent = "The model waits for your answer.";
  });
  model.send({ ready: true });
}

export default { render };
