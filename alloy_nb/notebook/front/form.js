// One line to be filled in, below the header: a name, a model, an amount, what to attach.

/** @import {View} from "./view.js" */
import { Completer } from "./completer.js";
import { button, composes, make } from "./nodes.js";

export class Form {
  /** @param {View} view */
  constructor(view) {
    this.view = view;
    this.store = view.store;
    this.root = make("form", "alloy-row alloy-form");
    this.root.hidden = true;
    /** @type {Completer|null} */
    this.completer = null;
  }

  close() {
    this.root.hidden = true;
    this.root.replaceChildren();
    this.completer = null;
    this.view.composer.area.focus();
  }

  /**
   * @param {string} label
   * @param {string} value
   * @param {(text: string) => void} given
   */
  #ask(label, value, given) {
    const field = make("input", "alloy-field");
    field.value = value;
    const cancel = button("Cancel", () => this.close());
    const name = make("label", "", label, field);
    this.root.replaceChildren(name, make("button", "alloy-main", "OK"), cancel);
    this.root.hidden = false;
    this.root.onsubmit = (event) => {
      event.preventDefault();
      this.close();
      given(field.value.trim());
    };
    this.root.onkeydown = (event) => {
      if (event.key === "Escape" && !event.defaultPrevented && !composes(event)) this.close();
    };
    field.focus();
    field.select();
    return field;
  }

  askNew() {
    this.#ask("Name of the new session", "", (name) => {
      if (name) this.store.send({ do: "new", name });
    });
  }

  /** @param {number|null} turn */
  askFork(turn) {
    this.#ask("Name of the new branch", "", (name) => {
      if (name) this.store.send({ do: "fork", turn, name });
    });
  }

  askModel() {
    this.#ask("Model", this.store.head.model ?? "", (value) => {
      if (value) this.store.send({ do: "set", what: "model", value });
    });
  }

  askBudget() {
    const now = (this.store.head.budget ?? "").replace(/[^\d.]/g, "");
    this.#ask("Spend at most, in dollars (empty: no limit)", now, (value) =>
      this.store.send({ do: "set", what: "max_cost", value }),
    );
  }

  askReference() {
    const attach = (/** @type {string} */ text) => {
      const name = text.replace(/^@/, "");
      const kind = /^(?:In|Out)\[/.test(name) ? "cell" : "ref";
      if (name) this.store.send({ do: "attach", kind, name });
    };
    const field = this.#ask("Attach @", "", attach);
    const asks = (/** @type {string} */ text) => {
      const typed = `@${text.replace(/^@/, "")}`;
      return { text: typed, cursor: typed.length };
    };
    const completer = new Completer(field, this.store, asks, (item) => {
      this.close();
      attach(item.text);
    });
    field.addEventListener("keydown", (event) => completer.key(event));
    this.root.append(completer.list);
    this.completer = completer;
    completer.ask();
  }
}
