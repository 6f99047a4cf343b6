// The buttons below the picture: pause, step, rewind, record, new game. They ask; the server's answer is what counts.

import { $, icon } from "./dom.js";

const REWIND_EVERY_MS = 60;

export class Transport {
  constructor(link) {
    this.link = link;
    this.state = null; // the server's last word; null without a game
    this.rewinding = 0;
    this.rewound = false;
    this.wasPaused = false;
    this.hiddenWhilePlaying = false;
    for (const [id, deed] of Object.entries({ pause: "pause", single: "step", restart: "restart", record: "record" })) {
      $(`#${id}`).addEventListener("click", () => this.state && this[deed]());
    }
    this.watchRewind($("#rewind"));
    document.addEventListener("visibilitychange", () => this.hide(document.hidden));
  }

  show(state) {
    this.state = state;
    icon($("#pause"), state.paused ? "play" : "pause", state.paused ? "Go on" : "Pause");
    $("#record").setAttribute("aria-pressed", state.recording);
  }

  // A frame has come, from which so many steps can be taken back.
  frame(kept) {
    $("#rewind").disabled = !kept && !this.rewinding;
    this.rewound = true;
  }

  lose() {
    this.rewind(false);
    this.state = null;
  }

  pause(on = !this.state.paused) {
    this.link.send({ type: "pause", on });
  }

  step() {
    if (!this.state.paused) this.pause(true);
    this.link.send({ type: "step" });
  }

  restart() {
    this.link.send({ type: "reset" });
  }

  record() {
    this.link.send({ type: "record", on: !this.state.recording });
  }

  faster(factor) {
    const { fps } = this.state;
    const wanted = Math.round(factor > 1 ? Math.max(fps + 1, fps * factor) : Math.min(fps - 1, fps * factor));
    this.link.send({ type: "pace", fps: Math.max(1, Math.min(60, wanted)) });
  }

  // Held, the game runs backwards, a step for each frame that arrives; let go, and it goes on from there.
  rewind(on) {
    if (on === Boolean(this.rewinding) || (on && !this.state)) return;
    if (on) {
      this.wasPaused = this.state.paused;
      this.pause(true);
      this.rewound = true;
      this.rewinding = setInterval(() => {
        if (this.rewound) this.link.send({ type: "rewind", steps: 1 });
        this.rewound = false;
      }, REWIND_EVERY_MS);
    } else {
      clearInterval(this.rewinding);
      this.rewinding = 0;
      this.pause(this.wasPaused);
    }
    document.body.classList.toggle("rewinding", on);
  }

  watchRewind(button) {
    button.addEventListener("pointerdown", (event) => {
      button.setPointerCapture(event.pointerId);
      this.rewind(true);
    });
    for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) button.addEventListener(end, () => this.rewind(false));
    button.addEventListener("keydown", (event) => /Space|Enter/.test(event.code) && this.rewind(true));
    button.addEventListener("keyup", () => this.rewind(false));
    button.addEventListener("contextmenu", (event) => event.preventDefault());
    addEventListener("blur", () => this.rewind(false));
  }

  hide(hidden) {
    if (hidden) {
      this.hiddenWhilePlaying = Boolean(this.state) && !this.state.paused;
      if (this.hiddenWhilePlaying) this.pause(true);
    } else if (this.hiddenWhilePlaying) {
      this.pause(false);
    }
  }
}
