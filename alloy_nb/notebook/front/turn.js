// One turn of the conversation: the prompt, the outputs, the code in them, what one can do with it.

/** @import {Output, Turn} from "./shapes.js" */
/** @import {View} from "./view.js" */
import { button, composes, count, fit, icon, make } from "./nodes.js";
import { PICTURE, fragment } from "./wall.js";

export class TurnBox {
  /**
   * @param {View} view
   * @param {Turn} turn
   */
  constructor(view, turn) {
    this.view = view;
    this.turn = turn;
    /** @type {Map<string, {node: HTMLElement, html: string}>} */
    this.outputs = new Map();
    this.prompt = make("div", "alloy-prompt");
    this.body = make("div", "alloy-body");
    this.foot = make("div", "alloy-row alloy-foot");
    this.root = make("article", "alloy-turn", this.prompt, this.body, this.foot);
    this.draw(turn);
  }

  /** @param {Turn} turn */
  draw(turn) {
    const isEdited = this.prompt.querySelector(".alloy-editing") !== null;
    const isSame = this.turn.prompt.text === turn.prompt.text;
    this.turn = turn;
    this.root.setAttribute("aria-label", turn.turn ? `Turn ${turn.turn}` : "The turn that runs");
    if (!isEdited || !isSame) this.#drawPrompt();
    const kept = new Set(turn.outputs.map((output) => output.id));
    for (const [id, { node }] of this.outputs) {
      if (kept.has(id)) continue;
      node.remove();
      this.outputs.delete(id);
    }
    for (const output of turn.outputs) this.put(output, true);
    // In the order of the turn, whatever was there before; what stands right is not touched.
    turn.outputs.forEach(({ id }, place) => {
      const node = this.outputs.get(id)?.node;
      const there = this.body.children[place];
      if (node && node !== there) this.body.insertBefore(node, there ?? null);
    });
    if (turn.state !== "live") this.#drawCode();
    this.#drawFoot();
    this.mark();
  }

  /**
   * Draw one output, and tell whether it stands there: what is selected is left alone until the
   * turn has ended. What was opened stays open.
   * @param {Output} output
   */
  put({ id, html }, settled = false) {
    let held = this.outputs.get(id);
    if (held?.html === html) return true;
    if (!held) {
      held = { node: make("div", "alloy-output"), html: "" };
      this.outputs.set(id, held);
      this.body.append(held.node);
    }
    const selection = document.getSelection();
    if (!settled && selection && !selection.isCollapsed && held.html) {
      if (selection.containsNode(held.node, true)) return false;
    }
    const open = [...held.node.querySelectorAll("details")].map((node) => node.open);
    held.node.replaceChildren(fragment(html));
    held.html = html;
    held.node.querySelectorAll("details").forEach((node, place) => {
      if (open[place] !== undefined) node.open = open[place];
    });
    // What may scroll has to be reached by the keyboard.
    for (const node of held.node.querySelectorAll("pre")) {
      node.tabIndex = 0;
      if (node.firstElementChild?.tagName === "CODE") node.className = "alloy-source";
    }
    if (held.node.querySelector("table")) held.node.tabIndex = 0;
    else held.node.removeAttribute("tabindex");
    return true;
  }

  #drawPrompt() {
    const { prompt, at } = this.turn;
    const who = make("div", "alloy-who", make("span", "alloy-name", "You"));
    if (at) who.append(make("time", "alloy-muted", at));
    this.pinned = make("span", "alloy-tag", "pinned");
    this.unsent = make("span", "alloy-tag", "hidden from the model");
    who.append(this.pinned, this.unsent, this.#actions());
    const said = make("div", "alloy-said");
    if (prompt.html) said.append(fragment(prompt.html));
    else said.textContent = prompt.text;
    if (!prompt.html) said.classList.add("alloy-plain");
    const chips = make("div", "alloy-chips");
    for (const { label, tokens } of prompt.chips ?? []) {
      chips.append(make("span", "alloy-chip", tokens ? `${label} · ${count(tokens)}` : label));
    }
    for (const source of prompt.images ?? []) {
      if (!PICTURE.test(source)) continue;
      const image = make("img", "alloy-image");
      image.src = source;
      image.alt = "a picture that you attached";
      chips.append(image);
    }
    this.said = said;
    this.prompt.replaceChildren(who, said, ...(chips.hasChildNodes() ? [chips] : []));
  }

  #actions() {
    const { turn } = this;
    const row = make("span", "alloy-actions");
    const copy = button("Copy the message", () => this.view.copy(turn.prompt.text), { icon: "copy" });
    row.append(copy);
    if (turn.state === "live" || turn.turn === null) return row;
    const number = turn.turn;
    const tell = (/** @type {string} */ what) => this.view.store.send({ do: what, turn: number });
    this.hider = button("Hide from the model", () => tell(turn.hidden ? "unhide" : "hide"), {
      icon: "hide",
    });
    this.pinner = button("Pin", () => tell(turn.pinned ? "unpin" : "pin"), { icon: "pin" });
    row.prepend(button("Edit and ask again", () => this.#edit(), { icon: "edit" }));
    row.append(this.hider, this.pinner);
    row.append(button("Fork after this turn", () => this.view.form.askFork(number), { icon: "fork" }));
    return row;
  }

  #edit() {
    const { turn } = this;
    const area = make("textarea", "alloy-area alloy-editing");
    area.value = turn.prompt.text;
    area.setAttribute("aria-label", "Edit the message");
    const close = () => {
      this.#drawPrompt();
      this.mark();
      this.prompt.querySelector("button")?.focus();
    };
    const send = () => {
      if (!area.value.trim()) return;
      this.view.talk.sticks = true; // who asks wants to see the answer
      this.view.store.send({ do: "edit", turn: turn.turn, text: area.value });
      close();
    };
    area.addEventListener("keydown", (event) => {
      if (composes(event)) return;
      if (event.key === "Escape") close();
      if (event.key !== "Enter" || event.shiftKey) return;
      event.preventDefault();
      send();
    });
    const note = make("span", "alloy-muted", "What came after stays on a branch.");
    const row = make("div", "alloy-row", button("Ask again", send, { name: "alloy-main" }));
    row.append(button("Cancel", close), note);
    this.said?.replaceWith(area);
    area.after(row);
    fit(area);
    area.addEventListener("input", () => fit(area));
    area.focus();
  }

  /** Give each block of code of the answer its buttons; a block may be cut in several parts. */
  #drawCode() {
    for (const box of this.body.querySelectorAll(".alloy-code")) {
      box.replaceWith(/** @type {Node} */ (box.firstChild));
    }
    const whole = this.turn.code ?? [];
    let [number, place] = [0, 0];
    for (const node of this.body.querySelectorAll("pre")) {
      const inner = node.querySelector(":scope > code");
      if (!inner || node.closest("details")) continue;
      const part = (inner.textContent ?? "").replace(/\n$/, "");
      const found = partOf(whole, part, number, place);
      if (found) [number, place] = found.rest;
      const code = (found ? whole[found.block] : part).replace(/\n$/, "");
      const box = make("div", "alloy-code");
      node.replaceWith(box);
      box.append(node, this.#codeActions(code, found ? found.block : null));
    }
  }

  /**
   * @param {string} code
   * @param {number|null} block
   */
  #codeActions(code, block) {
    const row = make("div", "alloy-actions");
    row.append(
      button("Copy the code", () => this.view.copy(code), { icon: "copy" }),
      button("Insert into a new cell", () => this.view.insert(code), { icon: "insert" }),
    );
    if (block === null) return row;
    const { turn } = this.turn;
    const run = () => this.view.store.send({ do: "run", turn, number: block });
    row.append(button("Run in the kernel", run, { icon: "play" }));
    return row;
  }

  #drawFoot() {
    const { turn } = this;
    this.foot.replaceChildren();
    if (turn.state === "live") return;
    const text = () => {
      const shown = [...this.body.querySelectorAll(".alloy-output")];
      const plain = shown.map((node) => /** @type {HTMLElement} */ (node).innerText).join("\n");
      return this.view.copy(turn.markdown ?? plain);
    };
    this.foot.append(button("Copy the answer", text, { icon: "copy" }));
    if (turn.turn === null) return;
    const again = () => {
      this.view.talk.sticks = true;
      this.view.store.send({ do: "regenerate", turn: turn.turn });
    };
    this.foot.append(button("Answer again", again, { icon: "again" }));
  }

  mark() {
    const { hidden, pinned } = this.turn;
    this.root.classList.toggle("alloy-unsent", Boolean(hidden));
    if (this.unsent) this.unsent.hidden = !hidden;
    if (this.pinned) this.pinned.hidden = !pinned;
    if (this.hider) {
      this.hider.replaceChildren(icon(hidden ? "unhide" : "hide"));
      this.hider.title = hidden ? "Send to the model again" : "Hide from the model";
      this.hider.setAttribute("aria-label", this.hider.title);
    }
    if (this.pinner) {
      this.pinner.title = pinned ? "Unpin" : "Pin: keep it when the conversation is shortened";
      this.pinner.setAttribute("aria-label", pinned ? "Unpin" : "Pin");
      this.pinner.setAttribute("aria-pressed", String(Boolean(pinned)));
    }
  }
}

/**
 * Find the block of code that a drawn part belongs to, from the place on where the last one ended.
 * @param {string[]} whole
 * @param {string} part
 * @param {number} number
 * @param {number} place
 */
function partOf(whole, part, number, place) {
  for (let block = number; block < whole.length; block++) {
    const code = whole[block];
    let start = block === number ? place : 0;
    while (start && code[start] === "\n") start++;
    if (!code.startsWith(part, start)) continue;
    const end = start + part.length;
    const rest = code.slice(end).trim() ? [block, end] : [block + 1, 0];
    return { block, rest: /** @type {[number, number]} */ (rest) };
  }
  return null;
}
