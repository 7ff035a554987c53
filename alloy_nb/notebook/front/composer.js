// Where one types: the field, what goes along, what waits, what went wrong.

/** @import {Chip, Notice, Waiting} from "./shapes.js" */
/** @import {View} from "./view.js" */
import { Completer } from "./completer.js";
import { Rows, button, composes, count, fit, icon, make } from "./nodes.js";

const REFERENCE = /(?<![\w./@\\])@[^\s@]*$/;

const GONE = "The kernel is gone. Run the panel's cell again.";
const DRAFTS = "alloy-draft-"; // where the page keeps what was typed, by panel

export class Composer {
  /** @param {View} view */
  constructor(view) {
    const { store } = view;
    this.view = view;
    this.store = store;
    this.recalled = "";
    this.stopping = 0;
    this.gone = make("p", "alloy-gone", GONE);
    this.notices = make("div", "alloy-notices");
    this.queue = make("ul", "alloy-queue");
    this.queue.setAttribute("aria-label", "Waiting messages");
    this.chips = make("div", "alloy-chips");
    this.area = make("textarea", "alloy-area");
    this.area.rows = 1;
    this.area.setAttribute("aria-label", "Message");
    this.completer = new Completer(this.area, store, (text) => {
      const cursor = this.area.selectionStart;
      const before = text.slice(0, cursor);
      const begun = REFERENCE.test(before) || /^\/\S+\s/.test(before);
      return begun ? { text, cursor } : null;
    });
    this.files = make("input");
    this.files.type = "file";
    this.files.multiple = true;
    this.files.hidden = true;
    this.files.addEventListener("change", () => {
      store.attach([...(this.files.files ?? [])]);
      this.files.value = "";
    });
    const attach = button("Attach files or images", () => this.files.click(), { icon: "plus" });
    const refer = button("@", () => view.form.askReference(), {
      name: "alloy-icon",
      title: "Attach a variable, a cell or its output",
    });
    refer.setAttribute("aria-label", refer.title);
    this.steer = button("Tell it now", () => this.submit(true), {
      title: "The answer that runs takes it in (Ctrl+Enter)",
    });
    this.stop = button("Stop", () => this.#stop(), { name: "alloy-button alloy-stop" });
    this.stop.prepend(icon("stop"));
    this.send = button("Send", () => this.submit(false), { name: "alloy-main alloy-send" });
    const tools = make("div", "alloy-row alloy-tools", attach, refer, make("span", "alloy-space"));
    tools.append(this.steer, this.stop, this.send);
    this.box = make("div", "alloy-box", this.chips, this.area, tools, this.files);
    this.root = make("div", "alloy-composer", this.notices, this.queue, this.completer.list);
    this.root.append(this.gone, this.box);
    const back = () => this.area.focus({ preventScroll: true });
    this.rows = {
      notices: new Rows(this.notices, back),
      queue: new Rows(this.queue, back),
      chips: new Rows(this.chips, back),
    };
    this.area.addEventListener("keydown", (event) => this.#key(event));
    this.area.addEventListener("input", () => {
      this.#keep();
      this.draw();
    });
    this.area.addEventListener("paste", (event) => this.#pasted(event));
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (composes(event)) return;
    if (this.completer.key(event)) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      this.submit(event.ctrlKey || event.metaKey);
    } else if (event.key === "ArrowUp" || event.key === "ArrowDown") {
      if (this.#recall(event.key === "ArrowUp" ? 1 : -1)) event.preventDefault();
    }
  }

  /** Bring back what was said before, where nothing else is written. @param {number} step */
  #recall(step) {
    const shown = this.area.value;
    if (shown && shown !== this.recalled) return false;
    const typed = this.store.turns.map((turn) => turn.prompt.text);
    const said = [...new Set([...typed, ...this.store.said].reverse())].filter(Boolean);
    const next = (shown ? said.indexOf(shown) : -1) + step;
    if (next < -1 || next >= said.length) return next >= said.length;
    this.recalled = next < 0 ? "" : said[next];
    this.write(this.recalled);
    return true;
  }

  // what was typed and not sent

  /** Keep it for a page that is loaded anew, and for a cell that is run again. */
  #keep() {
    const { value } = this.area;
    const cell = /** @type {any} */ (this.root.closest(".jp-Cell"));
    if (cell) cell.alloyDraft = value;
    const key = DRAFTS + this.store.model.get("panel_id");
    try {
      if (value) sessionStorage.setItem(key, value);
      else sessionStorage.removeItem(key);
    } catch {
      // The page keeps nothing, or it is too much.
    }
  }

  /** Bring back what was kept, where it is shown nowhere. */
  recover() {
    if (this.area.value) return;
    const cell = /** @type {any} */ (this.root.closest(".jp-Cell"));
    let kept = cell?.alloyDraft;
    try {
      const isFirst = this.store.views.size === 1;
      if (isFirst) kept ||= sessionStorage.getItem(DRAFTS + this.store.model.get("panel_id"));
    } catch {
      // The page keeps nothing.
    }
    if (kept) this.write(kept);
  }

  /** Take what was not sent back into the field; what is typed there stays. @param {string} text */
  offer(text) {
    this.store.said.push(text);
    if (!this.area.value.trim()) return this.write(text);
    this.store.notice("info", "What was not sent comes back with ↑, once the field is empty.");
  }

  /** @param {ClipboardEvent} event */
  #pasted(event) {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length || event.clipboardData?.getData("text/plain")) return;
    event.preventDefault();
    this.store.attach(files);
  }

  /** @param {boolean} steer */
  submit(steer) {
    const text = this.area.value;
    if (this.store.closed || (!text.trim() && (steer || !this.store.chips.length))) return;
    this.area.focus();
    this.write("");
    this.store.asker = this.view;
    this.store.say(text, steer);
    this.view.talk.toEnd();
  }

  #stop() {
    this.store.send({ do: "stop" });
    this.stop.lastChild?.replaceWith("Stopping…");
    clearTimeout(this.stopping);
    this.stopping = setTimeout(() => this.stop.lastChild?.replaceWith("Stop"), 3000);
    this.area.focus();
  }

  /** @param {string} text */
  write(text) {
    this.completer.write(text);
    this.draw();
  }

  draw() {
    const { running, closed } = this.store;
    const held = document.activeElement;
    const typed = this.area.value.trim();
    // It can be written on: a field that is disabled throws who writes out of it.
    this.gone.hidden = !closed || !typed;
    this.area.placeholder = closed
      ? GONE
      : running
        ? "Enter queues it, Ctrl+Enter tells it now"
        : "Ask…  @ refers to data, / is a command";
    this.stop.hidden = !running || closed;
    if (!running) {
      clearTimeout(this.stopping);
      this.stop.lastChild?.replaceWith("Stop");
    }
    this.steer.hidden = !running || !typed;
    this.send.hidden = running && !typed;
    this.send.textContent = running ? "Queue" : "Send";
    this.send.disabled = closed || (!typed && !this.store.chips.length);
    if ([this.stop, this.steer, this.send].some((one) => one === held && (one.hidden || one.disabled))) {
      this.area.focus({ preventScroll: true });
    }
    fit(this.area);
  }

  drawChips() {
    this.rows.chips.draw(this.store.chips.map((one) => [JSON.stringify(one), () => this.#chip(one)]));
    this.draw();
  }

  /** @param {Chip} one */
  #chip({ id, label, tokens, problem }) {
    const words = tokens === null || tokens === undefined ? label : `${label} · ${count(tokens)}`;
    const chip = make("span", "alloy-chip", make("span", "", words));
    chip.title = problem || (tokens ? `about ${tokens} tokens` : label);
    if (problem) {
      chip.classList.add("alloy-bad");
      chip.append(make("span", "alloy-chip-problem", problem));
    }
    const drop = () => this.store.send({ do: "detach", id });
    chip.append(button(`Remove ${label}`, drop, { icon: "close" }));
    return chip;
  }

  drawQueue() {
    const queued = this.store.head.queue ?? [];
    const known = new Set(queued.map((one) => one.id));
    const held = this.store.held.filter(({ id }) => !known.has(id));
    const { running } = this.store;
    /** @type {(state: string) => (one: Waiting) => [string, () => HTMLElement]} */
    const row = (state) => ({ id, text }) => [
      JSON.stringify([id, text, state, running]),
      () => this.#queued({ id, text }, state),
    ];
    this.rows.queue.draw([
      ...queued.map(row("Queued")),
      ...held.map(row("Waiting for the kernel")),
    ]);
  }

  /**
   * @param {Waiting} one
   * @param {string} state
   */
  #queued({ id, text }, state) {
    const words = make("span", "alloy-queued", text);
    words.title = text;
    const row = make("li", "", make("span", "alloy-muted", state), words);
    if (this.store.running) {
      const now = () => {
        this.store.unqueue(id);
        this.store.send({ do: "steer", text });
      };
      row.append(button("Tell it now", now));
    }
    row.append(button("Do not send", () => this.store.unqueue(id), { icon: "close" }));
    return row;
  }

  drawNotices() {
    this.rows.notices.draw(this.store.notices.map((one) => [String(one.key), () => this.#notice(one)]));
  }

  /** @param {Notice} one */
  #notice({ key, level, text }) {
    const row = make("div", `alloy-notice alloy-${level}`, make("span", "", text));
    if (level === "error" && this.store.speaker === this.view) row.setAttribute("role", "alert");
    row.append(button("Dismiss", () => this.store.dismiss(key), { icon: "close" }));
    return row;
  }
}
