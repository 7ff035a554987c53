// A host of widgets with nothing of Jupyter: comms over a WebSocket, outputs in <main>.
//
// `?bare` calls a widget's module by the specification alone; else anywidget's front end does it.

const VIEW = "application/vnd.jupyter.widget-view+json";
const bare = location.search === "?bare";

/** Who hears what; `off` with empty places means all, as anywidget calls it. */
class Events {
  #heard = [];

  on(name, callback, context) {
    this.#heard.push({ name, callback, context });
  }

  once(name, callback) {
    const first = (...said) => {
      this.off(name, first);
      callback(...said);
    };
    this.on(name, first);
  }

  off(name, callback, context) {
    this.#heard = this.#heard.filter(
      (one) =>
        (name && one.name !== name) ||
        (callback && one.callback !== callback) ||
        (context && one.context !== context),
    );
  }

  trigger(name, ...said) {
    for (const one of [...this.#heard]) if (one.name === name) one.callback(...said);
  }
}

/** What anywidget's model stands on. */
class DOMWidgetModel extends Events {
  #state;
  #changed = {};
  #comm;

  constructor(state, comm) {
    super();
    this.#state = state;
    this.#comm = comm;
    this.initialize(state);
  }

  initialize() {}

  get(name) {
    return this.#state[name];
  }

  set(name, value) {
    this.#state[name] = this.#changed[name] = value;
    this.trigger(`change:${name}`, this, value);
  }

  save_changes() {
    const state = this.#changed;
    this.#changed = {};
    say({ do: "comm_msg", comm_id: this.#comm, data: { method: "update", state, buffer_paths: [] } });
  }

  send(content, _callbacks, buffers = []) {
    say({ do: "comm_msg", comm_id: this.#comm, data: { method: "custom", content } }, buffers);
  }

  async _handle_comm_msg({ data, buffers }) {
    if (data.method === "custom") this.trigger("msg:custom", data.content, buffers);
    if (data.method !== "update") return;
    for (const [name, value] of Object.entries(data.state)) {
      this.#state[name] = value;
      this.trigger(`change:${name}`, this, value);
    }
  }
}

/** What anywidget's view stands on. */
class DOMWidgetView {
  constructor(model, el) {
    Object.assign(this, { model, el, $el: { empty: () => el.replaceChildren() } });
  }

  remove() {
    this.el.remove();
  }
}

/** A widget by the specification: its module, a model of six methods, and an element. */
class BareModel extends DOMWidgetModel {
  initialize(state) {
    const style = document.createElement("style");
    style.textContent = state._css ?? "";
    document.head.append(style);
    this.seen = Object.freeze({
      get: this.get.bind(this),
      set: this.set.bind(this),
      save_changes: this.save_changes.bind(this),
      send: this.send.bind(this),
      on: (name, callback) => this.on(name, callback),
      off: (name, callback) => this.off(name, callback),
    });
    this.ready = this.load(state._esm);
  }

  async load(source) {
    const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    const { default: made } = await import(url);
    const definition = typeof made === "function" ? await made() : made;
    await definition.initialize?.({ model: this.seen });
    return definition;
  }

  async _handle_comm_msg(message) {
    await this.ready;
    return super._handle_comm_msg(message);
  }
}

class BareView extends DOMWidgetView {
  async render() {
    const { render } = await this.model.ready;
    this.leave = await render({ model: this.model.seen, el: this.el });
  }

  remove() {
    this.leave?.();
    super.remove();
  }
}

/** @type {Promise<[typeof DOMWidgetModel, typeof DOMWidgetView]>} */
const classes = bare
  ? Promise.resolve([BareModel, BareView])
  : new Promise((resolve) => {
      globalThis.define = (_names, factory) => {
        const { AnyModel, AnyView } = factory({ DOMWidgetModel, DOMWidgetView });
        resolve([AnyModel, AnyView]);
      };
      const script = document.createElement("script");
      script.src = "/anywidget.js";
      document.head.append(script);
    });

const models = new Map();
const places = new Map();
const socket = new WebSocket(`ws://${location.host}/comms`);
socket.binaryType = "arraybuffer";
globalThis.host = { traffic: 0, messages: [], models, run: (code) => say({ do: "run", code }) };

function say(message, buffers = []) {
  socket.send(JSON.stringify({ ...message, buffers: buffers.length }));
  for (const buffer of buffers) socket.send(buffer);
}

async function hear(message, buffers) {
  const [Model, View] = await classes;
  const { comm_id: id, data } = message;
  switch (message.type) {
    case "comm_open":
      if (data.state._model_module === "anywidget") models.set(id, new Model(data.state, id));
      break;
    case "comm_msg":
      // Not waited for: a model's messages wait for its module themselves, and in their order.
      models.get(id)?._handle_comm_msg({ data, buffers });
      break;
    case "comm_close":
      models.get(id)?.trigger("destroy");
      models.delete(id);
      break;
    case "display":
      await show(message, View);
      break;
    case "ran":
      Object.assign(document.body.dataset, { ok: message.ok, ran: message.count });
      break;
  }
}

/** Show an output; what is shown anew gets a new view, before the old one is taken out. */
async function show({ data, display_id: id }, View) {
  const place = document.createElement("div");
  const before = places.get(id);
  const model = models.get(data[VIEW]?.model_id);
  if (before) before.place.after(place);
  else document.querySelector("main").append(place);
  let view = null;
  if (model) {
    view = new View(model, place);
    await view.render();
  } else {
    place.textContent = data["text/plain"] ?? "";
  }
  if (before) (before.view ?? before.place).remove();
  if (id) places.set(id, { place, view });
}

let chain = Promise.resolve();
let waiting = null;
socket.onmessage = ({ data }) => {
  globalThis.host.traffic += data.length ?? data.byteLength;
  if (typeof data === "string") waiting = { message: JSON.parse(data), buffers: [] };
  else waiting.buffers.push(new DataView(data));
  const { message, buffers } = waiting;
  if (buffers.length < message.buffers) return;
  globalThis.host.messages.push({ at: performance.now(), type: message.type, kind: message.data?.content?.kind });
  chain = chain.then(() => hear(message, buffers));
};
socket.onopen = () => {
  say({ do: "come" });
  document.body.dataset.open = "";
};
