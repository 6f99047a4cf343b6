// The game's keys: on the keyboard, under the thumbs, and drawn on screen, lit while they are pressed.

import { actionsOf } from "./actions.js";
import { $, make, readable } from "./dom.js";

const LABELS = { UP: "↑", DOWN: "↓", LEFT: "←", RIGHT: "→", FIRE: "Fire" };
const TURNS = { "mouse x -": "Turn left", "mouse x ": "Turn right", "mouse y -": "Look up", "mouse y ": "Look down" };
const OPPOSITE = { UP: "DOWN", DOWN: "UP", LEFT: "RIGHT", RIGHT: "LEFT" };

export class Keys {
  // `changed(action)` is called whenever other keys are held than before.
  constructor(changed) {
    this.changed = changed;
    this.held = []; // [{key, source}], oldest first
    this.drawn = new Map();
    this.shown = null; // the action the world took last
    addEventListener("blur", () => this.releaseAll());
    this.watchPad($("#pad"));
  }

  build(info) {
    this.actions = actionsOf(info);
    this.drawn.clear();
    this.releaseAll();
    const directions = this.actions.keys.filter((key) => this.actions.ways[key]);
    const others = this.actions.keys.filter((key) => !directions.includes(key));
    $("#pad").replaceChildren(...directions.map((key) => this.drawKey(key, "span")));
    const ways = directions.map((key) => this.actions.ways[key]);
    const across = ways.some((way) => way === "LEFT" || way === "RIGHT");
    const upright = ways.some((way) => way === "UP" || way === "DOWN");
    $("#pad").className = `pad ${across && upright ? "" : across ? "horizontal" : "vertical"}`;
    $("#pad").hidden = !directions.length;
    $("#buttons").replaceChildren(...others.map((key, i) => this.drawKey(key, "button", i)));
    $("#buttons").classList.toggle("many", others.length > 2);
  }

  drawKey(key, tag, index = 0) {
    const hint = this.actions.hint(key, index);
    const way = this.actions.ways[key] ?? "";
    const element = make(tag, { className: "key", dataset: { key, way } },
      make("b", { textContent: written(key, way) }), make("small", { textContent: hint }));
    if (tag === "button") {
      element.tabIndex = -1; // the keyboard has the real keys
      this.watchButton(element, key);
    }
    this.drawn.set(key, element);
    return element;
  }

  // Keyboard. True if the key was the game's.
  keyDown(event) {
    const key = this.actions?.keyFor(event.code);
    if (!key) return false;
    if (!event.repeat) this.press(key, event.code);
    return true;
  }

  keyUp(event) {
    this.release(event.code);
  }

  // Touch and mouse: a button is one key ...
  watchButton(element, key) {
    const source = `button-${key}`;
    element.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      element.setPointerCapture(event.pointerId);
      this.press(key, source);
    });
    for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
      element.addEventListener(end, () => this.release(source));
    }
    element.addEventListener("contextmenu", (event) => event.preventDefault());
  }

  // ... and the pad is one surface, on which a thumb slides from key to key, and between two presses both.
  watchPad(pad) {
    const aim = (event) => {
      const [first, second] = this.under(pad, event.clientX, event.clientY);
      this.hold("pad-first", first);
      this.hold("pad-second", second);
    };
    pad.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      pad.setPointerCapture(event.pointerId);
      aim(event);
    });
    pad.addEventListener("pointermove", (event) => pad.hasPointerCapture(event.pointerId) && aim(event));
    for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
      pad.addEventListener(end, () => ["pad-first", "pad-second"].forEach((source) => this.release(source)));
    }
    pad.addEventListener("contextmenu", (event) => event.preventDefault());
  }

  // The nearest key, and the second nearest where it is about as near and not opposite; none in the middle of all.
  under(pad, x, y) {
    const near = [...pad.children].map((element) => {
      const box = element.getBoundingClientRect();
      return [element.dataset.key, Math.hypot(x - box.left - box.width / 2, y - box.top - box.height / 2)];
    }).sort((a, b) => a[1] - b[1]);
    const close = near.filter(([, distance]) => distance <= 1.4 * near[0][1] + 1).map(([key]) => key);
    if (close.length > 2) return [];
    return close.length === 2 && OPPOSITE[this.actions.ways[close[0]]] !== this.actions.ways[close[1]] ? close.sort() : close.slice(0, 1);
  }

  hold(source, key) {
    if (!key || !this.drawn.has(key)) return this.release(source);
    if (this.held.some((h) => h.source === source && h.key === key)) return;
    this.held = this.held.filter((h) => h.source !== source);
    this.press(key, source); // tells once, of both changes
  }

  press(key, source) {
    if (this.held.some((h) => h.source === source)) return;
    this.held.push({ key, source });
    this.tell();
  }

  release(source) {
    if (!this.held.some((h) => h.source === source)) return;
    this.held = this.held.filter((h) => h.source !== source);
    this.tell();
  }

  releaseAll() {
    if (!this.held.length) return;
    this.held = [];
    this.tell();
  }

  tell() {
    this.light();
    this.changed(this.actions.nearest(this.held.map((h) => h.key)));
  }

  // The action that the world has just taken, whoever played it.
  took(action) {
    this.shown = action;
    this.light();
  }

  light() {
    const down = new Set(this.held.map((h) => h.key));
    const taken = new Set(this.shown === null ? [] : this.actions.keysOf(this.shown));
    for (const [key, element] of this.drawn) {
      element.classList.toggle("down", down.has(key));
      element.classList.toggle("taken", taken.has(key));
    }
  }
}

const written = (key, way) => LABELS[way] ?? LABELS[key] ?? TURNS[key.replace(/\d+$/, "")] ?? readable(key);
