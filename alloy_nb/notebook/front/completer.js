// What a word that is begun may become, in a list below or above the field.

/** @import {Completions, Item} from "./shapes.js" */
/** @import {Store} from "./store.js" */
import { composes, fresh, left, make, next, overwrite } from "./nodes.js";

/** What a word that is begun may become, below the field in which it stands. */
export class Completer {
  /**
   * @param {HTMLTextAreaElement|HTMLInputElement} field
   * @param {Store} store
   * @param {(field: string) => {text: string, cursor: number}|null} asks what to ask the kernel
   * @param {(item: Item) => void} [picked] instead of writing it into the field
   */
  constructor(field, store, asks, picked) {
    this.field = field;
    this.store = store;
    this.asks = asks;
    this.picked = picked;
    this.id = "";
    this.at = 0;
    this.settled = false;
    /** @type {Completions|null} */
    this.found = null;
    this.list = make("div", "alloy-menu alloy-choices");
    this.list.id = `alloy-list-${next()}`;
    this.list.setAttribute("role", "listbox");
    this.list.setAttribute("aria-label", "Completions");
    this.list.hidden = true;
    field.setAttribute("role", "combobox");
    field.setAttribute("aria-autocomplete", "list");
    field.setAttribute("aria-controls", this.list.id);
    field.setAttribute("aria-expanded", "false");
    field.addEventListener("input", () => this.ask());
    field.addEventListener("blur", () => left(field, () => this.close()));
    this.list.addEventListener("mousedown", (event) => event.preventDefault()); // keep the focus
  }

  ask() {
    if (this.settled) return;
    const commands = this.#commands();
    if (commands) return this.take(commands);
    const asked = this.asks(this.field.value);
    if (!asked || this.store.closed) return this.close();
    this.id = fresh();
    this.store.send({ do: "complete", id: this.id, ...asked });
  }

  /** The commands are known here. @returns {Completions|null} */
  #commands() {
    const [, word] = this.picked ? [] : (/^\/(\S*)$/.exec(this.field.value) ?? []);
    if (word === undefined || this.field.selectionStart !== this.field.value.length) return null;
    this.id = fresh();
    const items = (this.store.head.commands ?? [])
      .filter(({ name }) => name.startsWith(word))
      .map(({ name, words, help }) => ({
        text: `/${name} `,
        label: `/${name}${words ? ` ${words}` : ""}`,
        kind: help ?? "",
      }));
    return { id: this.id, start: 0, end: word.length + 1, items };
  }

  /** @param {Completions} message */
  take(message) {
    if (message.id !== this.id) return;
    const begun = this.field.value.slice(message.start, message.end);
    const items = message.items.length === 1 && message.items[0].text.trim() === begun
      ? [] // it stands there already: Enter is for sending it
      : message.items.slice(0, 50);
    this.found = items.length ? message : null;
    this.at = 0;
    const shown = items.map((item, place) => {
      const node = make("div", "alloy-item", make("span", "", item.label || item.text));
      if (item.kind) node.append(make("span", "alloy-muted", item.kind));
      node.id = `${this.list.id}-${place}`;
      node.setAttribute("role", "option");
      node.addEventListener("click", () => {
        this.at = place;
        this.accept();
      });
      return node;
    });
    this.list.replaceChildren(...shown);
    this.list.hidden = !this.found;
    this.field.setAttribute("aria-expanded", String(Boolean(this.found)));
    this.#mark();
  }

  #mark() {
    [...this.list.children].forEach((node, place) => {
      node.setAttribute("aria-selected", String(place === this.at));
      if (place === this.at) node.scrollIntoView({ block: "nearest" });
    });
    if (this.found) this.field.setAttribute("aria-activedescendant", `${this.list.id}-${this.at}`);
    else this.field.removeAttribute("aria-activedescendant");
  }

  close() {
    this.id = "";
    if (this.found) this.take({ id: "", start: 0, end: 0, items: [] });
  }

  accept() {
    const found = this.found;
    const item = found?.items[this.at];
    this.close();
    if (!found || !item) return;
    if (this.picked) return this.picked(item);
    this.write(item.text, found.start, found.end);
  }

  /**
   * Write into the field, and complete nothing of it.
   * @param {string} text
   * @param {number} [start]
   * @param {number} [end]
   */
  write(text, start, end) {
    this.close();
    this.settled = true;
    overwrite(this.field, text, start, end);
    this.settled = false;
  }

  /** Take a key, if it is for the list. @param {KeyboardEvent} event */
  key(event) {
    if (composes(event)) return false;
    if (event.key === " " && event.ctrlKey) this.ask();
    else if (!this.found) return false;
    else if (event.key === "Escape") this.close();
    else if ((event.key === "Enter" && !event.shiftKey) || event.key === "Tab") this.accept();
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      const many = this.list.children.length;
      this.at = (this.at + (event.key === "ArrowDown" ? 1 : many - 1)) % many;
      this.#mark();
    } else return false;
    event.preventDefault();
    return true;
  }
}
