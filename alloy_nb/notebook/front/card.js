// The question before a call, in a cell.

/** @import {Model} from "./shapes.js" */
import { make } from "./nodes.js";
import { cardOf } from "./question.js";

/**
 * Whoever is writing somewhere else is not taken away from there.
 * @param {HTMLElement} card
 */
function isWriting(card) {
  const active = document.activeElement;
  if (!active || active === document.body) return false;
  const cell = card.closest(".jp-Cell");
  if (cell && cell.contains(active)) return false;
  return active.matches("input, textarea, select, [contenteditable='true']");
}

/** @param {{model: Model, el: HTMLElement}} context */
function render({ model, el }) {
  const status = make("div", "alloy-ask-hidden");
  status.setAttribute("role", "status");
  const card = cardOf(model.get("question"), (choice, text) => {
    status.textContent = "Your answer was sent.";
    model.send({ choice, text });
  });
  // JupyterLab takes Enter and letters for commands of the notebook, before they come here.
  card.dataset.lmSuppressShortcuts = "true";
  // Nothing typed here is the notebook's, and Escape decides nothing.
  for (const kind of ["keydown", "keypress", "keyup"]) {
    card.addEventListener(kind, (event) => event.stopPropagation());
  }
  card.append(status);
  el.append(card);

  requestAnimationFrame(() => {
    if (!isWriting(card)) card.focus();
    status.textContent = "The model waits for your answer.";
  });
  model.send({ ready: true });
}

export default { render };
