// Looking for words in all conversations.

/** @import {Hit} from "./shapes.js" */
/** @import {View} from "./view.js" */
import { button, composes, fresh, make } from "./nodes.js";
import { fragment } from "./wall.js";

const PAUSE_MS = 300; // after a key, before the kernel is asked

export class Search {
  /** @param {View} view */
  constructor(view) {
    this.view = view;
    this.store = view.store;
    this.asked = "";
    this.timer = 0;
    this.field = make("input", "alloy-field");
    this.field.type = "search";
    this.field.placeholder = "Search all conversations";
    this.field.setAttribute("aria-label", "Search all conversations");
    this.hits = make("ul", "alloy-hits");
    const close = button("Close the search", () => this.open(false), { icon: "close" });
    this.root = make("section", "alloy-results");
    this.root.append(make("div", "alloy-row", this.field, close), this.hits);
    this.root.setAttribute("aria-label", "Search");
    this.root.hidden = true;
    this.field.addEventListener("input", () => {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.#ask(), PAUSE_MS);
    });
    this.root.addEventListener("keydown", (event) => {
      if (composes(event)) return;
      if (event.key === "Escape") this.open(false);
      if (event.key !== "Enter" || event.target !== this.field) return;
      clearTimeout(this.timer);
      this.#ask();
    });
  }

  /** @param {boolean} on */
  open(on) {
    this.root.hidden = !on;
    if (on) this.field.select();
    (on ? this.field : this.view.header.search).focus();
  }

  #ask() {
    const words = this.field.value.trim();
    this.asked = fresh();
    if (words) this.store.send({ do: "search", id: this.asked, words });
    else this.hits.replaceChildren();
  }

  /** @param {{id: string, hits: Hit[]}} message */
  found({ id, hits }) {
    if (id !== this.asked) return;
    const rows = hits.map((hit) => {
      const html = make("div", "alloy-hit");
      html.append(fragment(hit.html));
      const words = hit.turn ? `${hit.session} · turn ${hit.turn}` : hit.session;
      const name = "alloy-plainly alloy-link";
      return make("li", "", button(words, () => this.#goTo(hit), { name }), html);
    });
    if (!rows.length) rows.push(make("li", "alloy-muted", "Nothing was found."));
    this.hits.replaceChildren(...rows);
    this.view.say(hits.length ? `${hits.length} found.` : "Nothing was found.");
  }

  /** @param {Hit} hit */
  #goTo({ session, turn }) {
    this.open(false);
    if (session === this.store.head.session?.name) return this.view.talk.goTo(turn ?? 0);
    this.view.talk.sought = turn ?? 0; // gone to when the other conversation is here
    this.store.send({ do: "switch", session });
  }
}
