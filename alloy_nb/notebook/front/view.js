// A view: the panel in one output, with its parts; and how it outlives an output drawn anew.

/** @import {Completions} from "./shapes.js" */
/** @import {Store} from "./store.js" */
import { inserted } from "./cells.js";
import { Composer } from "./composer.js";
import { Conversation } from "./conversation.js";
import { Form } from "./form.js";
import { Footer, Header } from "./header.js";
import { copied, left, make } from "./nodes.js";
import { Search } from "./search.js";

const FRAMES = 300; // until an output that was made is put into the page
const EDGE = 8; // pixels around a panel that fills a sidebar

export class View {
  /** @param {Store} store */
  constructor(store) {
    this.store = store;
    /** @type {HTMLElement|null} where it is shown */
    this.host = null;
    this.away = true;
    /** @type {Element|null} the outputs of the cell that it is shown in */
    this.outputs = null;
    /** @type {Element|null} */
    this.focused = null;
    this.header = new Header(this);
    this.footer = new Footer(this);
    this.composer = new Composer(this);
    this.form = new Form(this);
    this.search = new Search(this);
    this.talk = new Conversation(this);
    this.status = make("div", "alloy-unseen");
    this.status.setAttribute("role", "status");
    const middle = make("div", "alloy-middle", this.search.root, this.talk.log, this.talk.more);
    this.root = make("section", "alloy-panel", this.header.root, this.form.root, middle);
    this.root.append(this.composer.root, this.footer.root, this.status);
    this.root.setAttribute("aria-label", "alloy");
    // JupyterLab takes Enter and letters for commands of the notebook, before they come here.
    this.root.dataset.lmSuppressShortcuts = "true";
    for (const kind of ["keydown", "keypress", "keyup", "copy", "cut", "paste"]) {
      this.root.addEventListener(kind, (event) => event.stopPropagation());
    }
    this.root.addEventListener("keydown", (event) => this.#save(event));
    this.#takeFiles();
    this.#keepFocus();
    this.sizes = new ResizeObserver(() => this.#placed());
    this.sizes.observe(this.root);
    this.draw();
  }

  destroy() {
    this.leave();
    this.store.views.delete(this);
    this.sizes.disconnect();
    this.talk.close();
  }

  // being shown

  /**
   * Show it in an output. A notebook that draws an output anew makes another view of the same
   * model: it gets this one's nodes, with all that was typed, selected and scrolled.
   * @param {HTMLElement} el
   */
  mount(el) {
    this.host = el;
    this.away = true;
    el.append(this.root);
    this.#placed(FRAMES);
  }

  leave() {
    this.host = null;
    this.root.remove();
    this.#cover(null);
  }

  /** It was put into the page, or taken out, or its size is another. */
  #placed(frames = 0) {
    if (!this.root.isConnected) {
      this.away = true;
      if (frames) requestAnimationFrame(() => this.#placed(frames - 1));
      return;
    }
    if (this.away) this.#restore();
    this.away = false;
    this.#cover(this.root.closest(".jp-OutputArea"));
    const side = this.root.closest(".jupyterlab-sidecar, .jp-LinkedOutputView");
    if (side) this.sizes.observe(side);
    const isFilling = this.root.classList.contains("alloy-fill");
    if (side || isFilling) this.root.style.height = side ? `${side.clientHeight - EDGE}px` : "";
    this.root.classList.toggle("alloy-fill", side !== null);
  }

  /** Beside a panel, nobody needs what a notebook keeps of it. @param {Element|null} outputs */
  #cover(outputs) {
    const before = this.outputs;
    this.outputs = outputs;
    for (const node of [before, outputs]) {
      node?.classList.toggle("alloy-beside", node.querySelector(".alloy-panel") !== null);
    }
  }

  /** Out of the page, nodes lose the focus and where they were scrolled to. */
  #restore() {
    this.talk.restore();
    this.composer.recover();
    const held = this.focused;
    if (held instanceof HTMLElement && document.activeElement === document.body) {
      held.focus({ preventScroll: true });
    }
  }

  #keepFocus() {
    this.root.addEventListener("focusin", (event) => {
      this.focused = /** @type {Element} */ (event.target);
    });
    this.root.addEventListener("focusout", () => left(this.root, () => (this.focused = null)));
  }

  /** Saving is the notebook's, also from in here. @param {KeyboardEvent} event */
  #save(event) {
    const book = this.root.closest(".jp-NotebookPanel");
    const { key, code, ctrlKey, metaKey, keyCode } = event;
    if (!book || key.toLowerCase() !== "s" || !(ctrlKey || metaKey)) return;
    event.preventDefault(); // the browser would save the page
    const same = { key, code, ctrlKey, metaKey, keyCode, bubbles: true, cancelable: true };
    book.dispatchEvent(new KeyboardEvent("keydown", same));
  }

  #takeFiles() {
    this.root.addEventListener("dragover", (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      event.stopPropagation();
      this.root.classList.add("alloy-drop");
    });
    this.root.addEventListener("dragleave", (event) => {
      const to = /** @type {Node|null} */ (event.relatedTarget);
      if (!this.root.contains(to)) this.root.classList.remove("alloy-drop");
    });
    this.root.addEventListener("drop", (event) => {
      this.root.classList.remove("alloy-drop");
      const files = [...(event.dataTransfer?.files ?? [])];
      if (!files.length) return;
      event.preventDefault();
      event.stopPropagation();
      this.store.attach(files);
      this.composer.area.focus();
    });
  }

  // drawing

  draw() {
    this.drawHead();
    this.composer.drawChips();
    this.composer.drawNotices();
    this.talk.draw();
  }

  /** @param {boolean} [again] also where nothing changed: what was chosen may have been refused */
  drawHead(again = false) {
    this.header.draw(again);
    this.footer.draw();
    this.composer.drawQueue();
    this.composer.draw();
  }

  /** Tell a screen reader. @param {string} words */
  say(words) {
    this.status.textContent = words;
  }

  /** @param {Completions} message */
  completed(message) {
    this.composer.completer.take(message);
    this.form.completer?.take(message);
  }

  // doing

  /** @param {string} text */
  async copy(text) {
    const done = await copied(text);
    this.store.notice(done ? "info" : "error", done ? "Copied." : "The page may not copy.");
  }

  /** @param {string} code */
  async insert(code) {
    // A view in an area of its own stands in no notebook: there may be several beside it.
    const roots = [this.root, ...[...this.store.views].map((view) => view.root)];
    const root = roots.find((one) => one.closest(".jp-NotebookPanel")) ?? this.root;
    const done = await inserted(root, code).catch(() => false);
    if (done) return this.store.notice("info", "Inserted into a new cell.");
    const held = await copied(code);
    const words = "Copied: paste it into a new cell.";
    this.store.notice(held ? "info" : "error", held ? words : "The page may not copy.");
  }
}
