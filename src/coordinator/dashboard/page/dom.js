/** Elements from values. Text goes in as text nodes only: what a worker calls itself never becomes markup. */

/** @typedef {Node | string | number | null | undefined | false} Child */

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, unknown>} [properties] `class`, `text`, `on…` handlers; anything else is an attribute
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), /** @type {EventListener} */ (value));
    else setAttribute(element, name, value);
  }
  element.append(...present(children));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/**
 * @param {string} tag
 * @param {Record<string, unknown>} [attributes]
 * @param {...Child} children
 */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) setAttribute(element, name, value);
  element.append(...present(children));
  return element;
}

/**
 * @param {Element} element
 * @param {string} name
 * @param {unknown} value null, undefined and false take it away
 */
export function setAttribute(element, name, value) {
  if (value === null || value === undefined || value === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value))
    element.setAttribute(name, value === true ? "" : String(value));
}

/**
 * Only where it differs, so that nothing is laid out or read out anew for nothing.
 * @param {Element} element
 * @param {string | number} text
 */
export function setText(element, text) {
  if (element.textContent !== String(text)) element.textContent = String(text);
}

/**
 * The element of the page with this id.
 * @template {HTMLElement} [E=HTMLElement]
 * @param {string} id
 * @returns {E}
 */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`The page has no #${id}`);
  return /** @type {E} */ (found);
}

/** @param {readonly Child[]} children */
function present(children) {
  return children
    .filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (typeof child === "number" ? String(child) : child));
}

/**
 * Children of an element for a list of items, kept while their item is there: focus, scrolling and screen readers stay where
 * they are while values change.
 * @template T
 * @param {HTMLElement} parent
 * @param {{ key: (item: T) => string, create: (item: T) => { element: HTMLElement, update: (item: T) => void } }} options
 */
export function keyedList(parent, { key, create }) {
  /** @type {Map<string, { element: HTMLElement, update: (item: T) => void, item: T }>} */
  let shown = new Map();
  /** @param {readonly T[]} items */
  return (items) => {
    const next = new Map();
    /** @type {Element | null} */
    let place = parent.firstElementChild;
    for (const item of items) {
      const id = key(item);
      const known = shown.get(id);
      const entry = known ?? { ...create(item), item };
      if (!known || known.item !== item) entry.update(item);
      entry.item = item;
      next.set(id, entry);
      shown.delete(id);
      if (entry.element === place) place = place.nextElementSibling;
      else parent.insertBefore(entry.element, place);
    }
    for (const { element } of shown.values()) element.remove();
    shown = next;
  };
}
