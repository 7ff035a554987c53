// All that is known of one panel, whatever shows it: what came from the kernel, what goes to it.

/** @import {Aside, Chip, Head, Model, Notice, Question, Turn, Waiting} from "./shapes.js" */
/** @import {View} from "./view.js" */
import { fresh, next } from "./nodes.js";

const LARGEST = 10_000_000; // bytes of an attachment; Jupyter's server hangs up where one is larger
const FADES_MS = 10_000; // what is good to know goes by itself; what went wrong stays
const GONE_MS = 5000; // for a greeting to be answered, after the kernel was lost
const SLOW_MS = 700; // until a message that the kernel has not taken yet is shown as waiting
const STILL_MS = 5000; // of silence, until the kernel is asked whether there was something to hear
const LONG_MS = 20_000; // of it at most, where the silence goes on

export class Store {
  /** @param {Model} model */
  constructor(model) {
    this.model = model;
    /** @type {Head} */
    this.head = this.#readHead();
    /** @type {Turn[]} */
    this.turns = [...(model.get("entries") ?? [])];
    /** How many older turns there are than these. */
    this.first = Math.max(0, (model.get("total") ?? 0) - this.turns.length);
    /** @type {Turn|null} */
    this.live = null;
    /** @type {Chip[]} */
    this.chips = [];
    /** @type {Map<string, Question>} */
    this.asked = new Map();
    /** @type {Notice[]} */
    this.notices = [];
    /** @type {Aside[]} */
    this.asides = [];
    /** @type {Waiting[]} messages that the kernel has not taken yet */
    this.waiting = [];
    /** @type {string[]} */
    this.said = [];
    /** @type {Set<View>} */
    this.views = new Set();
    /** @type {View|null} the one in which something was sent last */
    this.asker = null;
    this.fetching = false;
    this.closed = false;
    this.doubted = 0;
    /** @type {number|null} the number of the message that was heard last */
    this.heard = null;
    this.missed = false;
    this.silence = STILL_MS;
    this.listening = 0;
    /** @type {Promise<void>|null} files on their way to the kernel */
    this.reading = null;
    model.on("msg:custom", (message) => this.#hear(message));
    for (const name of ["head", "lists"]) {
      model.on(`change:${name}`, () => {
        this.head = this.#readHead();
        this.#taken((waiting) => (this.head.queue ?? []).some((one) => one.id === waiting.id));
        this.#tell((view) => view.drawHead());
      });
    }
    for (const gone of ["comm:close", "destroy"]) model.on(gone, () => this.close());
    model.on("comm_live_update", () => this.#doubt());
    this.#hello();
    this.#listen();
  }

  #hello() {
    this.send({ do: "hello", version: this.model.get("version") ?? null });
  }

  /**
   * Tell whether this is the message that had to come next. Jupyter's server lets none through
   * while a cell prints very much: what was missed is told anew, all of it.
   * @param {unknown} number
   */
  #isNext(number) {
    this.#listen(STILL_MS);
    if (typeof number !== "number") return true;
    const isNext = this.heard === null || number <= this.heard + 1;
    this.heard = Math.max(number, this.heard ?? 0);
    if (isNext || this.missed) return isNext;
    this.missed = true;
    this.#wonder({ do: "hello", version: null });
    return false;
  }

  /** Ask, where something has to come and nothing does. @param {number} [silence] */
  #listen(silence = this.silence) {
    this.silence = silence;
    clearTimeout(this.listening);
    this.listening = setTimeout(() => {
      if (this.closed) return;
      const waits = this.running || this.waiting.length > 0 || this.head.kernel === "busy";
      if (this.missed) this.#wonder({ do: "hello", version: null });
      else if (waits) this.#wonder({ do: "still" });
      this.#listen(Math.min(2 * silence, LONG_MS));
    }, silence);
  }

  /**
   * Ask what nobody is told of if it cannot be asked.
   * @param {{do: string} & Record<string, unknown>} content
   */
  #wonder(content) {
    try {
      this.model.send(content, undefined, []);
    } catch {
      // The notebook shows by itself that there is no kernel.
    }
  }

  /** The notebook has lost its kernel, or found it again: one that is there answers a greeting. */
  #doubt() {
    clearTimeout(this.doubted);
    this.doubted = setTimeout(() => this.close(), GONE_MS);
    this.#wonder({ do: "hello", version: this.model.get("version") ?? null });
  }

  /** What stands around the conversation, with the lists to choose from. @returns {Head} */
  #readHead() {
    return { ...this.model.get("lists"), ...this.model.get("head") };
  }

  get running() {
    return this.live !== null || !["idle", undefined].includes(this.head.state);
  }

  get hasMore() {
    return this.first > 0;
  }

  /** The kernel is gone, or the widget was closed. */
  close() {
    if (this.closed) return;
    this.closed = true;
    clearTimeout(this.listening);
    if (this.live) this.turns.push({ ...this.live, state: "stopped" }); // nobody says more of it
    this.live = null;
    this.asked.clear();
    this.#tell((view) => view.draw());
    this.#say("The kernel is gone.");
  }

  // to the kernel

  /**
   * @param {{do: string} & Record<string, unknown>} content
   * @param {ArrayBuffer[]} [buffers]
   */
  send(content, buffers) {
    try {
      this.model.send(content, undefined, buffers ?? []);
    } catch (error) {
      this.notice("error", `The kernel cannot be reached: ${error}`);
    }
  }

  /**
   * Say what was typed: a command, a message into the turn that runs, or the next prompt.
   * @param {string} text
   * @param {boolean} [steer]
   */
  say(text, steer = false) {
    if (this.reading) {
      this.reading.then(() => this.say(text, steer)); // what was dropped before goes along
      return;
    }
    this.said.push(text);
    if (/^\s*\/[A-Za-z_][\w-]*(?:\s|$)/.test(text)) {
      const id = fresh();
      this.#wait({ id, text });
      this.send({ do: "command", id, line: text.trim() });
    } else if (steer && this.running) {
      this.send({ do: "steer", text });
    } else {
      const id = fresh();
      this.#wait({ id, text });
      this.send({ do: "ask", id, text });
    }
  }

  /** @param {Waiting} waiting */
  #wait(waiting) {
    this.waiting.push({ ...waiting, since: performance.now() });
    this.#listen(STILL_MS);
    setTimeout(() => this.#tell((view) => view.composer.drawQueue()), SLOW_MS + 1);
  }

  /** What the kernel has not taken for a while, as where a cell holds it up. */
  get held() {
    const until = performance.now() - SLOW_MS;
    return this.waiting.filter(({ since }) => (since ?? 0) <= until);
  }

  /** @param {(waiting: Waiting) => boolean} which */
  #taken(which) {
    const left = this.waiting.filter((waiting) => !which(waiting));
    if (left.length === this.waiting.length) return;
    this.waiting = left;
    this.#tell((view) => view.composer.drawQueue());
  }

  /** @param {string} id */
  unqueue(id) {
    this.#taken((waiting) => waiting.id === id);
    this.send({ do: "unqueue", id });
  }

  older() {
    if (this.fetching || !this.hasMore || this.closed) return;
    this.fetching = true;
    this.send({ do: "older", before: this.first });
    this.#tell((view) => view.talk.drawOlder());
  }

  /** @param {Iterable<File>} files */
  attach(files) {
    const reading = this.#attachAll(this.reading, files);
    this.reading = reading;
    reading.then(() => {
      if (this.reading === reading) this.reading = null;
    });
  }

  /**
   * @param {Promise<void>|null} before
   * @param {Iterable<File>} files
   */
  async #attachAll(before, files) {
    await before;
    for (const file of files) await this.#attach(file);
  }

  /** @param {File} file */
  async #attach(file) {
    const name = file.name || "pasted";
    if (file.size > LARGEST) {
      const instead = `Put it beside the notebook, and write @file:${name}`;
      return this.notice("error", `${name} is larger than ${LARGEST / 1e6} MB. ${instead}`);
    }
    const bytes = await file.arrayBuffer().catch(() => null);
    if (!bytes) return this.notice("error", `${name} cannot be read: is it a folder?`);
    const kind = file.type.startsWith("image/") ? "image" : "file";
    this.send({ do: "attach", kind, name, type: file.type }, [bytes]);
  }

  /**
   * @param {string} level
   * @param {string} text
   */
  notice(level, text) {
    const key = next();
    const others = this.notices.filter((one) => one.text !== text);
    this.notices = [...others, { key, level, text }].slice(-3);
    this.#tell((view) => view.composer.drawNotices());
    if (level !== "info") return; // an error is an alert by itself
    this.#say(text);
    setTimeout(() => this.dismiss(key), FADES_MS);
  }

  /** @param {number} key */
  dismiss(key) {
    this.notices = this.notices.filter((notice) => notice.key !== key);
    this.asides = this.asides.filter((aside) => aside.key !== key);
    this.#tell((view) => view.talk.dismissed(key));
    this.#tell((view) => view.composer.drawNotices());
  }

  // from the kernel

  /** @param {(view: View) => void} change */
  #tell(change) {
    for (const view of [...this.views]) {
      try {
        change(view);
      } catch (error) {
        console.error("[alloy] the panel could not be drawn", error);
      }
    }
  }

  /** The view that is heard by a screen reader: several would all say the same. */
  get speaker() {
    const views = [...this.views];
    return (
      views.find(({ root }) => root.contains(document.activeElement)) ??
      views.find(({ root }) => root.checkVisibility()) ??
      views[0]
    );
  }

  /** Tell a screen reader. @param {string} words */
  #say(words) {
    this.speaker?.say(words);
  }

  /** @param {string} text */
  #draft(text) {
    const asker = [...this.views].find((view) => view === this.asker);
    (asker ?? this.speaker)?.composer.offer(text);
  }

  /** @param {any} message */
  #hear(message) {
    if (!message || typeof message.kind !== "string") return;
    clearTimeout(this.doubted);
    if (this.closed) {
      this.closed = false;
      this.#tell((view) => view.draw());
    }
    const isNext = this.#isNext(message.n);
    switch (message.kind) {
      case "begin":
        this.live = { ...message.turn, outputs: [...(message.turn.outputs ?? [])] };
        this.#began(message.turn);
        this.#tell((view) => view.talk.began());
        return this.#say("Answering.");
      case "output":
        return this.#output(message);
      case "end":
        return this.#ended(message.turn);
      case "live":
        this.live = message.turn;
        this.missed &&= !isNext; // the turns came before it
        if (this.live) this.#began(this.live);
        return this.#tell((view) => view.talk.began());
      case "turns":
        return this.#replaced(message);
      case "older":
        return this.#older(message);
      case "mark":
        return this.#mark(message);
      case "asked":
        this.asked.set(message.call, message.question);
        this.#tell((view) => view.talk.drawAsked(message.call));
        return this.#say("The model waits for your answer.");
      case "answered":
        this.asked.delete(message.call);
        return this.#tell((view) => view.talk.drawAsked(message.call));
      case "chips":
        this.chips = message.chips ?? [];
        return this.#tell((view) => view.composer.drawChips());
      case "completions":
        return this.#tell((view) => view.completed(message));
      case "found":
        return this.#tell((view) => view.search.found(message));
      case "notice":
        this.#taken((waiting) => message.id === undefined || waiting.id === message.id);
        this.notice(message.level === "error" ? "error" : "info", String(message.text));
        return this.#tell((view) => view.drawHead(true)); // what was chosen may have been refused
      case "shown":
        return this.#shown(message);
      case "saved":
        return this.notice("info", `Saved as ${message.path}`);
      case "draft":
        return this.#draft(String(message.text));
    }
  }

  /** @param {Turn} turn */
  #began(turn) {
    this.#taken((one) => one.id === turn.ask || one.text.trim() === turn.prompt?.text?.trim());
  }

  /** @param {{turn: string, id: string, part?: string, keep?: number, html: string}} message */
  #output({ turn, id, part, keep, html }) {
    const live = this.live;
    if (!live || live.id !== turn || (this.missed && keep)) return;
    const known = live.outputs.find((one) => one.id === id);
    // What grows is told by what is different: so much of its beginning stays.
    const whole = keep ? (known?.html ?? "").slice(0, keep) + html : html;
    if (known) Object.assign(known, { part, html: whole });
    else live.outputs.push({ id, part, html: whole });
    this.#tell((view) => view.talk.changed(id, !known));
  }

  /** @param {Turn} turn */
  #ended(turn) {
    const place = this.turns.findIndex((one) => one.id === turn.id);
    if (place >= 0) this.turns[place] = turn;
    else this.turns.push(turn);
    this.#began(turn);
    if (this.live?.id === turn.id) this.live = null;
    const words = { stopped: "Stopped.", failed: "The turn failed." }[turn.state];
    this.#tell((view) => view.talk.ended(turn));
    this.#say(words ?? "The answer is complete.");
  }

  /** @param {{turns: Turn[], first?: number}} message */
  #replaced({ turns, first }) {
    this.turns = [...turns];
    this.first = first ?? 0;
    if (turns.some((turn) => turn.id === this.live?.id)) this.live = null; // it has ended
    this.asides = [];
    this.fetching = false;
    this.#tell((view) => view.draw());
  }

  /** @param {{turns: Turn[], first?: number}} message */
  #older({ turns, first }) {
    this.fetching = false;
    // Those of a conversation that is not shown any more end somewhere else.
    const isNear = !turns.length || (first ?? 0) + turns.length === this.first;
    if (!isNear) return this.#tell((view) => view.talk.drawOlder());
    const held = new Set(this.turns.map((turn) => turn.id));
    const more = turns.filter((turn) => !held.has(turn.id));
    this.turns.unshift(...more);
    this.first = more.length ? (first ?? 0) : 0;
    this.#tell((view) => view.talk.drawEarlier(more));
  }

  /** @param {{turn: string|number, hidden?: boolean, pinned?: boolean}} message */
  #mark({ turn: which, hidden, pinned }) {
    const turn = this.turns.find((one) => one.id === which || one.turn === which);
    if (!turn) return;
    turn.hidden = hidden ?? turn.hidden;
    turn.pinned = pinned ?? turn.pinned;
    this.#tell((view) => view.talk.marked(turn));
  }

  /** @param {{title?: string, html: string, id?: string}} message */
  #shown({ title, html, id }) {
    this.#taken((waiting) => waiting.id === id);
    if (!html) return; // a command that had nothing to show
    const after = this.turns.at(-1)?.id ?? null;
    const aside = { key: next(), after, title: title ?? "", html };
    this.asides = [...this.asides, aside].slice(-20);
    this.#tell((view) => view.talk.drawAside(aside, true));
  }
}
