/**
 * Names of people and of rooms: what the gateway takes, and one to begin with.
 *
 * The rules are the gateway's own, repeated so that a name can be refused while it is being typed.
 */

const MAX_NAME_BYTES = 64;
const MAX_ROOM_BYTES = 255;

const FIRST =
  "Amber Brave Calm Clever Coral Gentle Golden Happy Jolly Keen Lucky Mellow Quiet Rapid Sunny Swift";
const SECOND =
  "Badger Bear Crane Deer Falcon Finch Fox Hare Heron Lynx Marten Otter Owl Robin Seal Wren";

/** What is wrong with a person's name, `null` where nothing is. */
export function nameProblem(name) {
  if (name === "") return "Give yourself a name.";
  if (bytes(name) > MAX_NAME_BYTES) return "That name is too long.";
  return hasControl(name) ? "A name has no control characters." : null;
}

/** What is wrong with a room's name or a pattern, `null` where nothing is. */
export function roomProblem(room) {
  if (room === "") return "Give the room a name.";
  if (bytes(room) > MAX_ROOM_BYTES) return "That name is too long for a room.";
  if (hasControl(room)) return "A room's name has no control characters.";
  const tokens = room.split(".");
  return tokens.slice(0, -1).includes(">") ? "In a pattern, > can only stand at the end." : null;
}

export function inventName() {
  const pick = (words) => words[Math.floor(Math.random() * words.length)];
  return `${pick(FIRST.split(" "))} ${pick(SECOND.split(" "))}`;
}

function bytes(text) {
  return new TextEncoder().encode(text).length;
}

function hasControl(text) {
  return /\p{Cc}/u.test(text);
}
