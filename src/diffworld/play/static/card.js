// What a newcomer is told, once: that a network draws this. The first key or touch closes it, and does what it does.

import { $ } from "./dom.js";

const KEPT_AS = "diffworld-met";
const SILENT = new Set(["Shift", "Control", "Alt", "Meta", "CapsLock"]);

export class Card {
  // `begin` is called when it has been read.
  constructor(begin) {
    this.box = $("#card");
    this.box.hidden = recall();
    if (this.box.hidden) return;
    const close = (event) => {
      const seen = this.shown && document.body.classList.contains("playing");
      if (!seen || SILENT.has(event.key)) return;
      this.box.hidden = true;
      remember();
      begin();
      for (const kind of ["keydown", "pointerdown"]) removeEventListener(kind, close, true);
    };
    for (const kind of ["keydown", "pointerdown"]) addEventListener(kind, close, true);
  }

  get shown() {
    return !this.box.hidden;
  }

  // It is of the dream; where there is none, there is nothing to tell.
  meet(info) {
    if (info.worlds.dream) this.box.hidden = true;
    const touch = matchMedia("(pointer: coarse)").matches;
    const agent = info.players.agent ? "" : "The agent is playing. ";
    const aim = touch
      ? " Slide a finger over the picture to look about."
      : " Click the picture to aim: the mouse turns, its buttons are the game's, Escape lets it go.";
    const keys = `${touch ? "Touch" : "Press"} a key of the game to ${agent ? "take over" : "play"}.`;
    $("#card-how").textContent = agent + keys + (Object.keys(info.mouse).length ? aim : "");
  }
}

// A browser may keep nothing, or refuse even to be asked.
function recall() {
  try {
    return localStorage.getItem(KEPT_AS) !== null;
  } catch {
    return false;
  }
}

function remember() {
  try {
    localStorage.setItem(KEPT_AS, "1");
  } catch {
    // it is shown again next time
  }
}
