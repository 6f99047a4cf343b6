// The mouse as the game's own: a click on the picture grabs it, Escape lets it go; where it goes is told as it goes.

import { $, toast } from "./dom.js";

const SWING = 100; // pixels that the mouse moves at sensitivity 1 to turn as far as an action can
const BUTTONS = { 0: "left click", 2: "right click" };
const KEPT_AS = "diffworld-sensitivity";

export class Mouse {
  // `moved(right, down)` is called at most once a frame of the screen, in what the bins of the game's axes count in.
  constructor(keys, moved) {
    Object.assign(this, { keys, moved, scale: 0, way: [0, 0], due: false, touch: null });
    const screens = $("#screens");
    screens.addEventListener("click", ({ pointerType }) => pointerType !== "touch" && this.grab());
    screens.addEventListener("contextmenu", (event) => this.scale && event.preventDefault());
    document.addEventListener("pointerlockchange", () => this.changed());
    document.addEventListener("pointerlockerror", () => this.refused());
    document.addEventListener("mousemove", (event) => this.grabbed && this.go(event.movementX, event.movementY));
    document.addEventListener("mousedown", (event) => this.grabbed && this.button(event, true));
    document.addEventListener("mouseup", (event) => this.button(event, false));
    this.watchTouch(screens);
    const slider = $("#sensitivity");
    slider.value = recall() ?? slider.value;
    slider.addEventListener("change", () => remember(slider.value));
  }

  meet(info) {
    const bins = Object.values(info.mouse)[0];
    this.scale = bins ? Math.max(...bins) / SWING : 0;
    document.body.toggleAttribute("data-mouse", Boolean(this.scale));
    if (!this.scale && this.grabbed) document.exitPointerLock();
  }

  get grabbed() {
    return document.pointerLockElement === $("#screens");
  }

  grab() {
    if (!this.scale || this.grabbed) return;
    const screens = $("#screens");
    if (!screens.requestPointerLock) return this.refused();
    // Where it is refused, some browsers say so by an event, others by a promise.
    screens.requestPointerLock()?.catch(() => this.refused());
  }

  refused() {
    toast("This browser gives the page no mouse: turn with the arrow keys, or let it in its settings", "bad");
  }

  changed() {
    document.body.classList.toggle("grabbed", this.grabbed);
    if (this.grabbed) toast("The mouse aims. Escape lets it go.");
    else for (const button of Object.keys(BUTTONS)) this.keys.release(`mouse-${button}`);
  }

  button(event, down) {
    const key = BUTTONS[event.button];
    if (!this.keys.actions?.keys.includes(key)) return;
    if (down) this.keys.press(key, `mouse-${event.button}`);
    else this.keys.release(`mouse-${event.button}`);
  }

  // A finger that slides over the picture looks about.
  watchTouch(screens) {
    screens.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "touch" && this.scale) this.touch = event;
    });
    addEventListener("pointermove", (event) => {
      if (event.pointerId !== this.touch?.pointerId) return;
      this.go(event.clientX - this.touch.clientX, event.clientY - this.touch.clientY);
      this.touch = event;
    });
    for (const end of ["pointerup", "pointercancel"]) {
      addEventListener(end, (event) => event.pointerId === this.touch?.pointerId && (this.touch = null));
    }
  }

  go(right, down) {
    this.way[0] += right;
    this.way[1] += down;
    if (this.due || !(this.way[0] || this.way[1])) return;
    this.due = true;
    requestAnimationFrame(() => {
      const factor = this.scale * Number($("#sensitivity").value);
      this.moved(...this.way.map((pixels) => pixels * factor));
      this.way = [0, 0];
      this.due = false;
    });
  }
}

// A browser may keep nothing, or refuse even to be asked.
function recall() {
  try {
    return localStorage.getItem(KEPT_AS);
  } catch {
    return null;
  }
}

function remember(value) {
  try {
    localStorage.setItem(KEPT_AS, value);
  } catch {
    // it is the usual one next time
  }
}
