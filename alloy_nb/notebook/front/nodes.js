// Making nodes, of words; the clipboard.

const LINES = 20; // that can be undone: a browser takes seconds for hundreds, and minutes for more

let numbers = 0;

/** A number that no other thing of this page has. */
export function next() {
  return ++numbers;
}

/** A name that no other thing has, in this page or another. */
export function fresh() {
  return `${Date.now().toString(36)}-${next()}`;
}

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {string} [name] the class
 * @param {...(Node|string)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function make(tag, name, ...children) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  node.append(...children);
  return node;
}

const ICONS = {
  search: "M7 2.5a4.5 4.5 0 1 1 0 9a4.5 4.5 0 1 1 0-9M10.3 10.3l3.4 3.4",
  more: "M3.4 7.4a.6.6 0 1 1 0 1.2a.6.6 0 1 1 0-1.2M8 7.4a.6.6 0 1 1 0 1.2a.6.6 0 1 1 0-1.2M12.6 7.4a.6.6 0 1 1 0 1.2a.6.6 0 1 1 0-1.2",
  settings: "M2 4.5h7M12 4.5h2M10.5 3v3M2 11.5h2M7 11.5h7M5.5 10v3",
  send: "M8 13V3M3.8 7.2L8 3l4.2 4.2",
  stop: "M4.5 4.5h7v7h-7z",
  plus: "M8 3v10M3 8h10",
  copy: "M5.5 5.5h7v8h-7zM3.5 10.5v-8h7",
  edit: "M3 13l.7-3L11 2.7l2.3 2.3L6 12.3zM9.5 4.2l2.3 2.3",
  again: "M13 8a5 5 0 1 1-1.6-3.7M13 2v3h-3",
  hide: "M1.5 8s2.5-4.5 6.5-4.5S14.5 8 14.5 8S12 12.5 8 12.5S1.5 8 1.5 8M2.5 13.5l11-11",
  unhide: "M1.5 8s2.5-4.5 6.5-4.5S14.5 8 14.5 8S12 12.5 8 12.5S1.5 8 1.5 8M8 6.2a1.8 1.8 0 1 1 0 3.6a1.8 1.8 0 1 1 0-3.6",
  pin: "M5.5 2.5h5M6.2 2.5v4L4.5 9h7L9.8 6.5v-4M8 9v4.5",
  fork: "M4.5 5v6M4.5 5a1.5 1.5 0 1 1 .01 0M4.5 14a1.5 1.5 0 1 1 .01 0M11.5 5a1.5 1.5 0 1 1 .01 0M11.5 5c0 3.5-7 2-7 6",
  close: "M4 4l8 8M12 4l-8 8",
  insert: "M2.5 2.5h11v5h-11zM8 9.5v4M6 11.5h4",
  play: "M5 3l7.5 5L5 13z",
  down: "M8 3v10M3.8 8.8L8 13l4.2-4.2",
};

/** @param {keyof typeof ICONS} name */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/**
 * @param {string} label what it does, in words
 * @param {() => void} act
 * @param {{icon?: keyof typeof ICONS, name?: string, title?: string}} [look]
 */
export function button(label, act, look = {}) {
  const node = make("button", look.name ?? (look.icon ? "alloy-icon" : "alloy-button"));
  node.type = "button";
  if (look.icon) {
    node.append(icon(look.icon));
    node.setAttribute("aria-label", label);
  } else {
    node.textContent = label;
  }
  if (look.icon || look.title) node.title = look.title ?? label;
  node.addEventListener("click", act);
  return node;
}

/** @param {number|null|undefined} tokens */
export function count(tokens) {
  if (tokens === null || tokens === undefined) return "?";
  if (tokens < 1000) return String(tokens);
  const thousands = tokens / 1000;
  return thousands < 10 ? `${thousands.toFixed(1)}k` : `${Math.round(thousands)}k`;
}

/** @param {string} text */
export async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Without https, or in a frame that may not: the old way.
    const held = document.activeElement;
    const area = make("textarea");
    area.value = text;
    area.style.cssText = "position:fixed;opacity:0";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (held instanceof HTMLElement) held.focus({ preventScroll: true });
    return done;
  }
}

/**
 * Whether a key is the input method's: Enter and Escape end a composition there. Safari tells of the
 * one that ends it afterwards, by its code alone.
 * @param {KeyboardEvent} event
 */
export function composes(event) {
  return event.isComposing || event.keyCode === 229;
}

/**
 * Write over a part of a field as one who types does: so it can be undone.
 * @param {HTMLTextAreaElement|HTMLInputElement} field
 * @param {string} text
 */
export function overwrite(field, text, start = 0, end = field.value.length) {
  if (!text && start === end) return;
  field.setSelectionRange(start, end);
  const isShort = text.split("\n", LINES + 1).length <= LINES;
  const can = isShort && document.activeElement === field;
  if (can && document.execCommand(text ? "insertText" : "delete", false, text)) return;
  field.setRangeText(text, start, end, "end");
  field.dispatchEvent(new Event("input", { bubbles: true }));
}

/**
 * The nodes of a list, which stand as long as what they show does: what is pressed, focused or was
 * said to a screen reader is not made anew because something else came or went.
 */
export class Rows {
  /**
   * @param {HTMLElement} root
   * @param {() => void} bereft called where the one with the focus has gone
   */
  constructor(root, bereft) {
    this.root = root;
    this.bereft = bereft;
    /** @type {Map<string, HTMLElement>} */
    this.nodes = new Map();
  }

  /** @param {[string, () => HTMLElement][]} rows what each shows, as a text, and what makes it */
  draw(rows) {
    const before = this.nodes;
    this.nodes = new Map(rows.map(([shown, make]) => [shown, before.get(shown) ?? make()]));
    const now = [...this.nodes.values()];
    const focused = this.root.contains(document.activeElement);
    for (const node of before.values()) if (!now.includes(node)) node.remove();
    now.forEach((node, place) => {
      const there = this.root.children[place];
      if (node !== there) this.root.insertBefore(node, there ?? null);
    });
    if (focused && !this.root.contains(document.activeElement)) this.bereft();
  }
}

/**
 * Do something if the focus has left a node; not if the node was taken out of the page, where an
 * output is drawn anew: it gets the focus back.
 * @param {HTMLElement} node
 * @param {() => void} act
 */
export function left(node, act) {
  setTimeout(() => {
    if (node.isConnected && !node.contains(document.activeElement)) act();
  });
}

/**
 * Wait until something is there.
 * @template T
 * @param {() => T|null|undefined|false} look
 * @returns {Promise<T|null>}
 */
export async function until(look, patience = 1500) {
  const end = performance.now() + patience;
  for (;;) {
    const found = look();
    if (found) return found;
    if (performance.now() > end) return null;
    await new Promise((go) => setTimeout(go, 30));
  }
}

/**
 * Make a text area as high as its text, where the style sheet cannot (`field-sizing`).
 * @param {HTMLTextAreaElement} area
 */
export function fit(area) {
  if (CSS.supports("field-sizing", "content")) return;
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight + 2}px`;
}
