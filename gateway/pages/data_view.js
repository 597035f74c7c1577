/**
 * What a message says, as elements: text with its links, JSON laid out, long ones folded.
 *
 * Data comes from strangers. It is only ever put into text nodes, and a link is made of nothing but
 * an `http` or `https` URL that stands in the text as it is.
 */

import { el } from "./dom.js";

/** Beyond this a message is folded. Chosen: about half a screen. */
const FOLD_CHARS = 1_500;
const FOLD_LINES = 18;

/** A line of JSON has at most this many characters where its values allow it, and nesting beyond
 *  the depth is not laid out. Chosen: what a phone shows, and more than anybody reads. */
const LINE_CHARS = 44;
const MAX_DEPTH = 24;

/** Beyond this colours are left out: thousands of elements for one message slow every page. */
const MAX_COLOURED_CHARS = 20_000;

const LINK = /https?:\/\/[^\s<>"'`]+[^\s<>"'`.,;:!?)\]}]/g;
const JSON_TOKEN = /("(?:[^"\\]|\\.)*")(\s*:)?|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/g;

export function dataView(data) {
  const isText = typeof data === "string";
  const text = isText ? data : jsonText(data);
  const body = isText
    ? el("p", { class: "text" }, ...linked(text))
    : el("pre", { class: "json", tabindex: wide(text) ? "0" : null }, ...coloured(text));
  const lines = text.split("\n", FOLD_LINES + 1).length;
  if (text.length <= FOLD_CHARS && lines <= FOLD_LINES) return body;
  return folded(body, text);
}

/** One line for places that have room for no more: the announcer, the tab's title. */
export function dataSummary(data, max = 140) {
  const text = (typeof data === "string" ? data : jsonText(data)).replace(/\s+/g, " ");
  return text.length > max ? `${text.slice(0, max - 1)}…` : text;
}

/** JSON laid out for reading: what fits on a line stands on one. */
export function jsonText(data) {
  try {
    return laidOut(data, 0);
  } catch {
    // Nested so deeply that not even the engine's own printer gets through.
    return "(nested too deeply to be shown)";
  }
}

function laidOut(value, depth) {
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  if (depth > MAX_DEPTH) return JSON.stringify(value);
  const isArray = Array.isArray(value);
  const parts = isArray
    ? value.map((each) => laidOut(each, depth + 1))
    : Object.entries(value).map(([k, v]) => `${JSON.stringify(k)}: ${laidOut(v, depth + 1)}`);
  const [open, close] = isArray ? "[]" : "{}";
  const length = parts.reduce((sum, part) => sum + part.length + 2, 2 * depth);
  if (length <= LINE_CHARS && !parts.some((part) => part.includes("\n"))) {
    const space = isArray || parts.length === 0 ? "" : " ";
    return `${open}${space}${parts.join(", ")}${space}${close}`;
  }
  const indent = "  ".repeat(depth + 1);
  return `${open}\n${indent}${parts.join(`,\n${indent}`)}\n${"  ".repeat(depth)}${close}`;
}

function folded(body, text) {
  const button = el("button", { type: "button", class: "fold", "aria-expanded": "false" });
  const box = el("div", { class: "folded" }, body);
  const label = (open) =>
    open ? "Show less" : `Show all ${text.length.toLocaleString("en")} characters`;
  button.textContent = label(false);
  button.addEventListener("click", () => {
    const open = box.classList.toggle("open");
    button.setAttribute("aria-expanded", String(open));
    button.textContent = label(open);
  });
  return el("div", {}, box, button);
}

function linked(text) {
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(LINK)) {
    parts.push(text.slice(end, match.index));
    const href = match[0];
    parts.push(
      el("a", { href, target: "_blank", rel: "noopener noreferrer nofollow", text: href }),
    );
    end = match.index + href.length;
  }
  parts.push(text.slice(end));
  return parts.filter((part) => part !== "");
}

function coloured(text) {
  if (text.length > MAX_COLOURED_CHARS) return [text];
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(JSON_TOKEN)) {
    parts.push(text.slice(end, match.index));
    const [token, string, colon] = match;
    const kind = colon ? "key" : string ? "string" : "atom";
    parts.push(el("span", { class: `json-${kind}`, text: string ?? token }), colon ?? "");
    end = match.index + token.length;
  }
  parts.push(text.slice(end));
  return parts.filter((part) => part !== "");
}

/** Only what may have to be scrolled sideways is a stop of the Tab key. */
function wide(text) {
  return text.split("\n").some((line) => line.length > 40);
}
