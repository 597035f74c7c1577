/**
 * The few lines that make and find elements, and remember things in this browser.
 *
 * Text from outside only ever becomes a text node: nothing here or above parses markup.
 */

/** An element by id; a page that lacks it is broken and says so at once. */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no #${id}`);
  return element;
}

/**
 * Makes an element. `props` are attributes, except `class`, `text`, `on` (`{ click: … }`) and
 * `data`; `null`, `undefined` and `false` leave one out. Children are nodes, strings, or nothing.
 */
export function el(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") element.className = value;
    else if (name === "text") element.textContent = value;
    else if (name === "on") {
      for (const [type, handler] of Object.entries(value)) element.addEventListener(type, handler);
    } else if (name === "data") Object.assign(element.dataset, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Sets the text only where it differs, so that nothing is laid out, or read aloud, twice. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Storage that is full or forbidden is storage without memory. */
export const memory = {
  get(key, fallback) {
    try {
      return JSON.parse(localStorage.getItem(`roomwire.${key}`)) ?? fallback;
    } catch {
      return fallback;
    }
  },
  set(key, value) {
    try {
      localStorage.setItem(`roomwire.${key}`, JSON.stringify(value));
    } catch {
      // Private windows and full disks: the page works, it only forgets.
    }
  },
};

export function plural(count, one, many = `${one}s`) {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}
