// The chat panel's front end: an anywidget (AFM), plain modules, no framework and no build.
//
//   kernel ──custom messages──▶ Store ──▶ every View of it      (a view: one DOM tree in one output)
//   View ──▶ store.send({do: …}) ──▶ kernel
//
// What a model, a tool or the kernel drew comes as HTML that the package's one renderer made; it goes
// through `fragment`, a second wall. Everything else is text, set with textContent.

/** @import {Model} from "./shapes.js" */
import { Store } from "./store.js";
import { View } from "./view.js";

/** @type {Map<string, Store>} by panel, as a host may share this module between its models */
const stores = new Map();

/** @param {{model: Model}} context */
function initialize({ model }) {
  const id = String(model.get("panel_id") ?? "");
  stores.get(id)?.close();
  const store = new Store(model);
  stores.set(id, store);
  return () => {
    store.close();
    if (stores.get(id) === store) stores.delete(id);
  };
}

/**
 * Show a store in an output: by the nodes of a view that was taken out of the page, if there is one.
 * @param {Store} store
 * @param {HTMLElement} el
 */
function shown(store, el) {
  const spare = [...store.views].find((view) => !view.host?.isConnected);
  const view = spare ?? new View(store);
  store.views.add(view);
  view.mount(el);
  return view;
}

/**
 * Find what `initialize` has made for a model: the host may give `render` another object for it.
 * @param {Model} model
 * @returns {Store}
 */
function storeOf(model) {
  const id = String(model.get("panel_id") ?? "");
  const found = stores.get(id) ?? (stores.size === 1 ? [...stores.values()][0] : undefined);
  if (found) return found;
  initialize({ model });
  return storeOf(model);
}

/** @param {{model: Model, el: HTMLElement}} context */
function render({ model, el }) {
  const store = storeOf(model);
  let view = shown(store, el);
  // An output that was out of the page for a while may have lost its nodes to another. It is empty
  // then, so its size tells, however short the while was: an observer looks once a frame, and one of
  // what is in sight sees nothing of an output that left and came back within one.
  const size = new ResizeObserver(() =>
    requestAnimationFrame(() => {
      if (el.isConnected && view.host !== el) view = shown(store, el);
    }),
  );
  size.observe(el);
  return () => {
    size.disconnect();
    if (view.host !== el) return; // another output shows it now
    view.leave();
    for (const other of store.views) {
      if (other !== view && !other.host?.isConnected) other.destroy();
    }
  };
}

export default { initialize, render };
