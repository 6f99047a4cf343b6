// The game's keys as the player wants them: chosen in a dialog, kept by the browser for each game.

import { labelOf } from "./actions.js";
import { $, make, readable } from "./dom.js";

export class Keymap {
  // `changed(info)` is called with what the server says of the game, the player's own keys in it.
  constructor(changed) {
    this.changed = changed;
    this.waiting = null; // the action that the next key is for
    $("#keymap-button").addEventListener("click", () => this.open());
    $("#keymap-reset").addEventListener("click", () => this.keep({}));
    $("#keymap").addEventListener("keydown", (event) => this.pressed(event));
    $("#keymap").addEventListener("close", () => (this.waiting = null));
  }

  meet(info) {
    this.info = info;
    this.kept = `diffworld-keys ${info.env || info.title}`;
    this.own = recall(this.kept, info.action_names);
    this.tell();
  }

  tell() {
    this.changed({ ...this.info, keys: { ...this.info.keys, ...this.own } });
  }

  open() {
    $("#help").close();
    this.list();
    $("#keymap").showModal();
  }

  list() {
    $("#keymap-say").textContent = this.waiting === null ? "" : `Press the key for ${readable(this.waiting)}.`;
    const codes = { ...this.info.keys, ...this.own };
    $("#keymap-list").replaceChildren(...this.info.action_names.map((name) => {
      const button = make("button", { textContent: labelOf(codes[name]) || "…", dataset: { action: name } });
      button.setAttribute("aria-label", `Key of ${readable(name)}`);
      button.classList.toggle("waiting", name === this.waiting);
      button.addEventListener("click", () => {
        this.waiting = name;
        this.list();
        $(`[data-action="${CSS.escape(name)}"]`).focus();
      });
      return make("div", {}, button, make("span", { textContent: readable(name) }));
    }));
  }

  pressed(event) {
    if (this.waiting === null || event.code === "Escape" || !event.code) return;
    event.preventDefault();
    event.stopPropagation();
    const others = Object.keys({ ...this.info.keys, ...this.own });
    const taken = others.filter((name) => name !== this.waiting && (this.own[name] ?? this.info.keys[name]) === event.code);
    const own = { ...this.own, ...Object.fromEntries(taken.map((name) => [name, ""])), [this.waiting]: event.code };
    this.waiting = null;
    this.keep(own);
  }

  keep(own) {
    this.own = own;
    this.waiting = null;
    try {
      localStorage.setItem(this.kept, JSON.stringify(own));
    } catch {
      // a browser may keep nothing; the keys hold until the page is left
    }
    this.tell();
    this.list();
  }
}

// What this browser kept, as far as it is of this game.
function recall(place, names) {
  try {
    const kept = Object.entries(JSON.parse(localStorage.getItem(place)) ?? {});
    return Object.fromEntries(kept.filter(([name, code]) => names.includes(name) && typeof code === "string"));
  } catch {
    return {};
  }
}
