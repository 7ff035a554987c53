// The conversation: its turns and questions, how one scrolls through them, and what is drawn when.

/** @import {Aside, Turn} from "./shapes.js" */
/** @import {View} from "./view.js" */
import { button, make } from "./nodes.js";
import { cardOf } from "./question.js";
import { TurnBox } from "./turn.js";
import { fragment } from "./wall.js";

const CHUNK_MS = 20; // of drawing history, before the page gets a turn
const NEAR = 32; // pixels from the end that still count as the end

export class Conversation {
  /** @param {View} view */
  constructor(view) {
    this.view = view;
    this.store = view.store;
    /** @type {Map<string, TurnBox>} */
    this.boxes = new Map();
    /** @type {Turn[]} older turns that are not drawn yet, the oldest first */
    this.pending = [];
    /** @type {Map<string, HTMLElement>} */
    this.cards = new Map();
    /** @type {Set<string>} outputs of the live turn to be drawn in the next frame */
    this.dirty = new Set();
    /** @type {Element|undefined} the last turn */
    this.last = undefined;
    this.frame = 0;
    this.pumping = 0;
    this.sticks = true;
    this.unseen = 0;
    this.offset = 0;
    this.sought = 0;

    this.earlier = button("Earlier messages", () => this.store.older(), { name: "alloy-earlier" });
    this.empty = make("p", "alloy-empty", "Ask about your data, your code, or anything else.");
    this.asks = make("div", "alloy-asks");
    this.content = make("div", "alloy-content", this.earlier, this.empty, this.asks);
    this.log = make("div", "alloy-log", this.content);
    this.log.tabIndex = 0;
    this.log.setAttribute("role", "log");
    this.log.setAttribute("aria-live", "off"); // what is worth saying is said in the view's status
    this.log.setAttribute("aria-label", "Conversation");
    this.more = button("", () => this.toEnd(), { name: "alloy-new" });
    this.more.hidden = true;
    this.log.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.sizes = new ResizeObserver(() => this.sticks && this.toEnd());
    this.sizes.observe(this.content);
    this.sizes.observe(this.log);
    const near = { root: this.log, rootMargin: "600px 0px 0px" };
    this.sight = new IntersectionObserver((seen) => {
      if (!seen.some((one) => one.isIntersecting)) return;
      if (this.pending.length) this.#pump();
      else this.store.older();
    }, near);
  }

  close() {
    this.sight.disconnect();
    this.sizes.disconnect();
    cancelAnimationFrame(this.frame);
    cancelAnimationFrame(this.pumping);
  }

  // scrolling

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.log;
    if (!clientHeight) return; // it is not in the page, or hidden
    if (scrollHeight - scrollTop - clientHeight <= NEAR) this.sticks = true;
    // Else there is more below now, or less room; only who scrolls up wants to stay there.
    else if (scrollTop < this.offset) this.sticks = false;
    this.offset = scrollTop;
    if (this.sticks) this.unseen = 0;
    this.#drawMore();
  }

  toEnd() {
    this.sticks = true;
    this.unseen = 0;
    this.log.scrollTop = this.log.scrollHeight;
    this.offset = this.log.scrollTop;
    this.#drawMore();
  }

  /** Scroll to where one was, after the nodes were taken out of the page and put back. */
  restore() {
    if (this.sticks) this.toEnd();
    else this.log.scrollTop = this.offset;
  }

  #drawMore() {
    const waits = this.cards.size > 0;
    this.more.hidden = this.sticks || (!this.unseen && !waits);
    this.more.textContent = waits ? "Waits for your answer ↓" : `${this.unseen} new ↓`;
    this.more.classList.toggle("alloy-waits", waits);
  }

  /** Stay at the end, if one was there. */
  #settle() {
    if (this.sticks) this.toEnd();
    else this.#drawMore();
  }

  /** Do something above what one reads, which stays where it is. @param {() => void} change */
  #above(change) {
    const top = this.log.getBoundingClientRect().top;
    const turns = [...this.content.querySelectorAll(":scope > .alloy-turn")];
    const read = turns.find((node) => node.getBoundingClientRect().bottom > top);
    const before = read?.getBoundingClientRect().top ?? 0;
    this.log.classList.add("alloy-held"); // the browser would do the same once more
    change();
    if (this.sticks) this.toEnd();
    else if (read) this.log.scrollTop += read.getBoundingClientRect().top - before;
    this.log.classList.remove("alloy-held");
  }

  // turns that are over

  /** Draw what is different; a turn that is still there stays, with what one does in it. */
  draw() {
    const { turns } = this.store;
    const now = new Set(turns.map((turn) => turn.id));
    for (const [id, { root }] of this.boxes) {
      if (now.has(id)) continue;
      root.remove();
      this.boxes.delete(id);
    }
    for (const node of this.content.querySelectorAll(".alloy-aside")) node.remove();
    const kept = turns.findIndex((turn) => this.boxes.has(turn.id));
    this.pending = kept < 0 ? [...turns] : turns.slice(0, kept);
    if (kept < 0) this.sticks = true;
    else for (const turn of turns.slice(kept)) this.#drawLast(turn);
    this.began();
    this.#pump();
    this.#markLast();
    for (const aside of this.store.asides) this.drawAside(aside);
    for (const call of [...this.cards.keys(), ...this.store.asked.keys()]) this.drawAsked(call);
    this.#settle();
  }

  /** Draw older turns upwards, a few at a time, so that the page never stands still. */
  #pump() {
    cancelAnimationFrame(this.pumping);
    const end = performance.now() + CHUNK_MS;
    /** @type {HTMLElement[]} */
    const drawn = [];
    do {
      const turn = this.pending.pop();
      if (turn) drawn.unshift(this.#box(turn).root);
    } while (this.pending.length && performance.now() < end);
    const place = this.content.querySelector(":scope > .alloy-turn, :scope > .alloy-aside");
    if (drawn.length) this.#above(() => (place ?? this.asks).before(...drawn));
    if (this.pending.length) this.pumping = requestAnimationFrame(() => this.#pump());
    this.drawOlder();
    this.#seek();
  }

  /** @param {Turn} turn */
  #box(turn) {
    const box = new TurnBox(this.view, turn);
    this.boxes.set(turn.id, box);
    return box;
  }

  drawOlder() {
    const { store } = this;
    const held = document.activeElement === this.earlier;
    this.earlier.hidden = !store.hasMore && !this.pending.length;
    this.earlier.setAttribute("aria-disabled", String(store.fetching));
    if (held && this.earlier.hidden) this.log.focus({ preventScroll: true });
    this.earlier.textContent = store.fetching ? "Loading…" : "Earlier messages";
    this.empty.hidden = store.turns.length > 0 || store.live !== null || store.asides.length > 0;
    // Seen once, it is not told of again: look anew while it is still in sight.
    this.sight.unobserve(this.earlier);
    if (!this.earlier.hidden && !store.fetching) this.sight.observe(this.earlier);
  }

  /** @param {Turn[]} turns */
  drawEarlier(turns) {
    this.pending.push(...turns);
    this.#pump();
  }

  /** @param {Turn} turn */
  marked(turn) {
    const box = this.boxes.get(turn.id);
    if (box) box.turn = turn;
    box?.mark();
  }

  // the turn that runs

  began() {
    const { live } = this.store;
    this.dirty.clear();
    if (live) this.sought = 0; // who asks wants to see the answer
    for (const [id, box] of this.boxes) {
      if (box.turn.state !== "live" || id === live?.id) continue;
      box.root.remove();
      this.boxes.delete(id);
    }
    if (live) {
      this.#drawLast(live);
      if (!this.sticks) this.unseen += 1;
    }
    this.view.composer.draw();
    this.drawOlder();
    this.#settle();
  }

  /** @param {Turn} turn */
  ended(turn) {
    this.#drawLast(turn);
    this.view.composer.draw();
    this.drawOlder();
    this.#settle();
  }

  /** @param {Turn} turn */
  #drawLast(turn) {
    const box = this.boxes.get(turn.id);
    if (box) box.draw(turn);
    else this.asks.before(this.#box(turn).root);
    this.#markLast();
  }

  /** What one can do with the last answer is shown without pointing at it. */
  #markLast() {
    const last = [...this.content.querySelectorAll(":scope > .alloy-turn")].at(-1);
    if (last === this.last) return;
    this.last?.classList.remove("alloy-last");
    this.last = last;
    last?.classList.add("alloy-last");
  }

  /** Draw an output of the live turn in the next frame. @param {string} id */
  changed(id, isNew = false) {
    if (isNew && !this.sticks) this.unseen += 1;
    this.dirty.add(id);
    this.frame ||= requestAnimationFrame(() => this.#frame());
  }

  #frame() {
    this.frame = 0;
    const { live } = this.store;
    const box = live && this.boxes.get(live.id);
    const ids = this.dirty;
    this.dirty = new Set();
    for (const output of live?.outputs ?? []) {
      const isDrawn = !ids.has(output.id) || box?.put(output);
      // What is selected is left alone for now.
      if (!isDrawn) setTimeout(() => this.changed(output.id), 300);
    }
    this.#settle();
  }

  // what stands between the turns

  /** @param {Aside} aside */
  drawAside({ key, after, title, html }, isNew = false) {
    const node = make("section", "alloy-aside");
    node.setAttribute("aria-label", title || "What the command showed");
    node.dataset.key = String(key);
    const close = button("Dismiss", () => this.store.dismiss(key), { icon: "close" });
    const body = make("div", "alloy-output");
    body.append(fragment(html));
    node.append(make("div", "alloy-who", make("span", "alloy-name", title), close), body);
    const live = this.store.live && this.boxes.get(this.store.live.id)?.root;
    const place = after === null ? null : this.boxes.get(after)?.root;
    if (!isNew && place) place.after(node);
    else (live ?? this.asks).before(node);
    this.drawOlder();
    if (isNew) this.toEnd();
  }

  /** @param {number} key */
  dismissed(key) {
    this.content.querySelector(`.alloy-aside[data-key="${key}"]`)?.remove();
    this.drawOlder();
  }

  /** @param {string} call */
  drawAsked(call) {
    const held = this.cards.get(call);
    const question = this.store.asked.get(call);
    const told = JSON.stringify(question);
    // Another page has come, and all are asked again: what one writes in it is not made anew.
    if (held && held.dataset.told === told && !held.querySelector(":disabled")) return;
    const focused = held?.contains(document.activeElement);
    held?.remove();
    this.cards.delete(call);
    const { area } = this.view.composer;
    const card = question && cardOf(question, (choice, text) => {
      this.store.send({ do: "answer", call, choice, text });
      this.view.say("Your answer was sent.");
      area.focus();
    });
    if (card) {
      card.dataset.told = told;
      this.cards.set(call, card);
      this.asks.append(card);
    }
    this.#settle();
    // Who is writing is not taken away from there.
    const waits = document.activeElement === area && !area.value;
    if (card && (waits || focused)) card.focus({ preventScroll: !this.sticks });
    else if (focused) area.focus();
  }

  // going to a turn

  /** Go to a turn; older ones are fetched until it is there. @param {number} turn */
  goTo(turn) {
    this.sought = turn;
    this.#seek();
  }

  #seek() {
    if (!this.sought) return;
    const box = [...this.boxes.values()].find((one) => one.turn.turn === this.sought);
    if (!box) {
      const oldest = this.store.turns.find((turn) => turn.turn)?.turn ?? 0;
      if (!this.pending.length && oldest > this.sought) this.store.older();
      return;
    }
    this.sought = 0;
    this.sticks = false;
    box.root.scrollIntoView({ block: "start" });
    box.root.classList.add("alloy-sought");
    setTimeout(() => box.root.classList.remove("alloy-sought"), 2000);
    box.root.tabIndex = -1;
    box.root.focus({ preventScroll: true });
  }
}
