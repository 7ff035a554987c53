// What stands above and below the conversation: who answers, how, and what it has cost.

/** @import {View} from "./view.js" */
import { Menu, Picker } from "./controls.js";
import { button, count, make } from "./nodes.js";

const FORMS = ["md", "html", "ipynb", "json", "py"];

export class Header {
  /** @param {View} view */
  constructor(view) {
    const { store } = view;
    this.store = store;
    const set = (/** @type {string} */ what) => (/** @type {string} */ value) =>
      store.send({ do: "set", what, value });
    this.session = new Picker("Session", "session", (value) => {
      if (value === "+new") return view.form.askNew();
      if (value === "+fork") return view.form.askFork(null);
      const [kind, name] = [value.slice(0, 1), value.slice(2)];
      store.send({ do: "switch", [kind === "b" ? "branch" : "session"]: name });
    });
    this.model = new Picker("Model", "model", (value) =>
      value === "+other" ? view.form.askModel() : set("model")(value),
    );
    this.effort = new Picker("Effort", "effort", set("effort"));
    this.data = new Picker("Data", "data", set("data"));
    this.approve = new Picker("Approve", "approve", set("approve"));
    this.settings = button("Settings", () => this.#unfold(), { icon: "settings" });
    this.settings.classList.add("alloy-unfold");
    this.settings.setAttribute("aria-expanded", "false");
    this.search = button("Search", () => view.search.open(Boolean(view.search.root.hidden)), { icon: "search" });
    /** @type {[string, () => void][]} */
    const exports = FORMS.map((form) => [
      `Export as .${form}`,
      () => store.send({ do: "export", form }),
    ]);
    this.menu = new Menu("More", [
      ["New session…", () => view.form.askNew()],
      ["Fork from here…", () => view.form.askFork(null)],
      ["Set a budget…", () => view.form.askBudget()],
      ...exports,
    ]);
    const folded = make("div", "alloy-folded", this.effort.root, this.data.root, this.approve.root);
    this.root = make("div", "alloy-header", this.session.root, this.model.root, folded);
    this.root.setAttribute("role", "toolbar");
    this.root.setAttribute("aria-label", "The conversation's settings");
    this.root.append(make("span", "alloy-space"), this.settings, this.search, this.menu.root);
  }

  #unfold() {
    const on = this.root.classList.toggle("alloy-open");
    this.settings.setAttribute("aria-expanded", String(on));
  }

  draw(again = false) {
    const { head } = this.store;
    const name = head.session?.name ?? "";
    const branches = head.branches ?? [];
    /** @type {(names: string[]|undefined) => [string, [string, string][]][]} */
    const plain = (names) => [["", (names ?? []).map((one) => [one, one])]];
    const branch = head.session?.branch ?? "";
    const sessions = (head.sessions ?? []).filter((one) => one !== name);
    const many = branches.length > 1 || (branches.length === 1 && branches[0] !== branch);
    const now = many ? `b:${branch}` : `s:${name}`;
    /** @type {[string, [string, string][]][]} */
    const groups = [
      many
        ? [`Branches of ${name}`, branches.map((one) => [`b:${one}`, one])]
        : ["", [[`s:${name}`, name]]],
      ["Sessions", sessions.map((one) => [`s:${one}`, one])],
      ["Other", [["+new", "New session…"], ["+fork", "Fork from here…"]]],
    ];
    this.session.draw(groups.filter(([, options]) => options.length), now, again);
    const models = plain(head.models);
    models.push(["Other", [["+other", "Another model…"]]]);
    this.model.draw(models, head.model ?? "", again);
    this.effort.draw(plain(head.efforts), head.effort ?? "", again);
    this.data.draw(plain(head.levels), head.data ?? "", again);
    this.approve.draw(plain(head.policies), head.approve ?? "", again);
    this.approve.root.classList.toggle("alloy-bad", head.approve === "all");
  }
}

export class Footer {
  /** @param {View} view */
  constructor(view) {
    this.store = view.store;
    this.kernel = make("span", "alloy-kernel");
    this.bar = make("span", "alloy-bar", make("span"));
    this.context = make("span", "alloy-context");
    this.spent = button("", () => view.form.askBudget(), { name: "alloy-plainly", title: "Set a budget" });
    this.kept = make("span", "alloy-kept");
    const window = make("span", "alloy-window", this.bar, this.context);
    this.root = make("div", "alloy-footer", this.kernel, window, this.spent, this.kept);
  }

  draw() {
    const { head, closed } = this.store;
    const busy = head.kernel === "busy";
    this.kernel.textContent = closed ? "no kernel" : `kernel ${busy ? "busy" : "idle"}`;
    this.kernel.classList.toggle("alloy-busy", busy);
    const { tokens, window } = head.context ?? {};
    const share = tokens && window ? Math.min(1, tokens / window) : 0;
    this.bar.hidden = !window;
    /** @type {HTMLElement} */ (this.bar.firstChild).style.width = `${Math.round(100 * share)}%`;
    this.bar.classList.toggle("alloy-bad", share > 0.9);
    this.context.textContent =
      tokens === null || tokens === undefined
        ? ""
        : window
          ? `context ${Math.round(100 * share)}% of ${count(window)}`
          : `context ${count(tokens)}`;
    this.spent.textContent = head.budget
      ? `${head.spent ?? "?"} of ${head.budget}`
      : (head.spent ?? "");
    this.spent.hidden = !this.spent.textContent;
    this.kept.textContent = head.kept ? `saved ${head.kept}` : "";
  }
}
