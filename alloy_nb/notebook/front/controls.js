// Two controls of the header: a list to choose from, and a menu.

import { button, left, make } from "./nodes.js";

/** A native list of choices that shows what holds, and tells what was chosen. */
export class Picker {
  /**
   * @param {string} label
   * @param {string} name
   * @param {(value: string) => void} chosen
   */
  constructor(label, name, chosen) {
    this.select = make("select");
    this.select.setAttribute("aria-label", label);
    this.root = make("label", `alloy-pick alloy-pick-${name}`);
    this.root.title = label;
    this.root.append(make("span", "alloy-pick-name", label), this.select);
    this.drawn = "";
    this.select.addEventListener("change", () => {
      const { value } = this.select;
      if (value.startsWith("+")) this.select.value = this.value; // something to be asked first
      chosen(value);
    });
    this.value = "";
  }

  /**
   * @param {[string, [string, string][]][]} groups of `[value, label]`, with a heading or ""
   * @param {string} value
   */
  draw(groups, value, again = false) {
    this.value = value;
    const known = groups.some(([, options]) => options.some(([one]) => one === value));
    const every = known || !value ? groups : [/** @type {typeof groups[0]} */ (["", [[value, value]]]), ...groups];
    this.root.hidden = !every.some(([, options]) => options.length);
    const now = JSON.stringify(every);
    if (now !== this.drawn) {
      this.drawn = now;
      this.select.replaceChildren();
      for (const [heading, options] of every) {
        const nodes = options.map(([one, text]) => new Option(text, one));
        if (!heading) this.select.append(...nodes);
        else {
          const group = make("optgroup", "", ...nodes);
          group.label = heading;
          this.select.append(group);
        }
      }
      again = true;
    }
    if (again || this.select.value !== value) this.select.value = value;
  }
}

/** A button that opens a list of actions. */
export class Menu {
  /**
   * @param {string} label
   * @param {[string, () => void][]} actions
   */
  constructor(label, actions) {
    this.list = make("div", "alloy-menu");
    this.list.setAttribute("role", "menu");
    this.list.setAttribute("aria-label", label);
    this.list.hidden = true;
    this.button = button(label, () => this.open(Boolean(this.list.hidden)), { icon: "more" });
    this.button.setAttribute("aria-haspopup", "menu");
    this.button.setAttribute("aria-expanded", "false");
    for (const [words, act] of actions) {
      const item = button(words, () => {
        this.open(false);
        act();
      });
      item.className = "alloy-item";
      item.setAttribute("role", "menuitem");
      item.tabIndex = -1;
      this.list.append(item);
    }
    this.root = make("div", "alloy-menu-box", this.button, this.list);
    this.root.addEventListener("keydown", (event) => this.#key(event));
    this.root.addEventListener("focusout", () => left(this.root, () => this.open(false, false)));
  }

  /** @param {boolean} on */
  open(on, focus = true) {
    if (this.list.hidden === !on) return;
    this.list.hidden = !on;
    this.button.setAttribute("aria-expanded", String(on));
    if (!focus) return;
    if (on) /** @type {HTMLElement} */ (this.list.firstChild).focus();
    else this.button.focus();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const items = /** @type {HTMLElement[]} */ ([...this.list.children]);
    const at = items.indexOf(/** @type {HTMLElement} */ (document.activeElement));
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key];
    if (event.key === "Escape" && !this.list.hidden) this.open(false);
    else if (to === undefined) return;
    else if (this.list.hidden) this.open(true);
    else items.at(to % items.length)?.focus();
    event.preventDefault();
    event.stopPropagation();
  }
}
