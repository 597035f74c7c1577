/**
 * The rooms and the people where there is no room beside the conversation: panels that lie over it.
 *
 * One at a time. Escape, the scrim and choosing a room close it, and focus goes back to the button
 * that opened it. Where the window is wide the panels simply stand there and nothing here acts.
 */

import { byId } from "./dom.js";

const PANELS = ["rooms", "members"].map((name) => ({
  panel: byId(`${name}-panel`),
  opener: byId(`open-${name}`),
}));
const scrim = byId("scrim");

function open({ panel, opener }) {
  panel.classList.add("open");
  opener.setAttribute("aria-expanded", "true");
  scrim.hidden = false;
  panel.querySelector(".close-panel").focus();
}

export function closePanels() {
  for (const { panel, opener } of PANELS) {
    if (!panel.classList.contains("open")) continue;
    const hadFocus = panel.contains(document.activeElement);
    panel.classList.remove("open");
    opener.setAttribute("aria-expanded", "false");
    if (hadFocus) opener.focus();
  }
  scrim.hidden = true;
}

for (const each of PANELS) {
  each.opener.addEventListener("click", () => {
    const opening = !each.panel.classList.contains("open");
    closePanels();
    if (opening) open(each);
  });
  each.panel.querySelector(".close-panel").addEventListener("click", closePanels);
}
scrim.addEventListener("click", closePanels);
