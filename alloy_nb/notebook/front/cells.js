// Putting code into a new cell, where the page is a notebook.

import { until } from "./nodes.js";

/**
 * Put code into a new cell of JupyterLab or Notebook 7; true if it is seen to stand there.
 *
 * Neither hands its commands to a page's scripts, unless it was started so (`jupyterapp`): then the
 * button of the notebook's own toolbar makes the cell, and the editor takes the code as a paste.
 * @param {HTMLElement} root
 * @param {string} code
 */
export async function inserted(root, code) {
  const own = root.closest(".jp-NotebookPanel");
  const book = own ?? document.querySelector(".jp-NotebookPanel:not(.lm-mod-hidden)");
  if (!book || book.classList.contains("lm-mod-hidden")) return false;
  const active = () => book.querySelector(".jp-Notebook .jp-Cell.jp-mod-active");
  const before = active();
  const commands = /** @type {any} */ (window).jupyterapp?.commands;
  const place = "notebook:insert-cell-below";
  const press = book.querySelector(`[data-command="${place}"]`);
  if (commands?.hasCommand?.(place)) await commands.execute(place);
  else if (press instanceof HTMLElement) {
    // The notebook's toolbar acts when the button is pressed, a cell's own when it is let go.
    press.dispatchEvent(new MouseEvent("mousedown", { bubbles: true, cancelable: true }));
    if (!(await until(() => active() !== before, 300))) press.click();
  } else return false;
  const cell = await until(() => active() !== before && active());
  const editor = cell && (await until(() => cell.querySelector(".cm-content")));
  if (!(editor instanceof HTMLElement)) return false;
  const [first] = code.split("\n");
  const shows = () => editor.querySelector(".cm-line")?.textContent === first;
  const data = new DataTransfer();
  data.setData("text/plain", code);
  editor.focus();
  editor.dispatchEvent(
    new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }),
  );
  return Boolean(await until(shows));
}
