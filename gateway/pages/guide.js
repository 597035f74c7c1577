/**
 * What the page says where there is nothing to show yet, and how to come in over other wires.
 *
 * The host and the port of the page are those it was loaded from; the TCP port is the default one.
 */

import { el } from "./dom.js";

const TCP_PORT = 7000;

/** The two lines with which a person at a terminal joins a room. */
function terminal(room) {
  return `nc ${location.hostname} ${TCP_PORT}\n/join ${room}`;
}

/** Ways into a room from outside this page, to be copied. */
export function wires(room) {
  const base = `${location.origin}/v1/rooms/${encodeURIComponent(room)}`;
  return [
    "# a person, over TCP",
    terminal(room),
    "",
    "# listen, over HTTP",
    `curl -N ${base}/events`,
    "",
    "# speak, over HTTP",
    `curl ${base}/messages \\`,
    "  -H 'content-type: application/json' \\",
    `  -d '{"data": "hello"}'`,
  ].join("\n");
}

/** Which of the words below a conversation needs, `""` for none. */
export function emptyState(conversation) {
  const { state, ready, pattern, memberCount, timeline } = conversation;
  if (timeline.lines.length > 0) return "";
  if (state !== "joined" && state !== "joining") return "refused";
  if (!ready) return "";
  if (pattern) return "pattern";
  return memberCount > 1 ? "company" : "alone";
}

export function emptyWords(which, { room, state }) {
  switch (which) {
    case "alone":
      return [
        el("h2", { text: "Nobody here yet" }),
        el("p", { text: "Open this page in a second window, or join from a terminal:" }),
        el("pre", { class: "mono snippet", tabindex: "0", text: terminal(room) }),
      ];
    case "company":
      return [
        el("h2", { text: "No messages yet" }),
        el("p", { text: "You are not alone. Say hello." }),
      ];
    case "pattern":
      return [
        el("h2", { text: `Watching ${room}` }),
        el("p", { text: "Messages of every room of this pattern appear here as they come." }),
      ];
    case "refused":
      return [el("h2", { text: "Not in this room" }), el("p", { text: state })];
    default:
      return [];
  }
}
