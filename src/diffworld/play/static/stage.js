// The worlds on screen: canvases scaled by whole pixels, score, and what has just happened.

import { $, $$, draw, signOf } from "./dom.js";
import { Rate } from "./rate.js";

const TELL_RATE_MS = 500;

export class Stage {
  constructor() {
    this.screens = $$(".screen");
    this.size = [1, 1];
    this.rate = new Rate();
    this.state = null;
    this.lastStep = 0;
    new ResizeObserver(() => this.fit()).observe($("#screens"));
    setInterval(() => this.tellRate(), TELL_RATE_MS);
  }

  meet(info) {
    $("#difference-caption").textContent = `Real − dream ×${info.difference_gain}`;
    $("#help-gain").textContent = `${info.difference_gain} times as strong`;
  }

  // What the player chose.
  show(state) {
    if (state.paused !== this.state?.paused || state.fps !== this.state?.fps) this.rate.restart();
    this.state = state;
    const taped = state.settings.player === "recording";
    $(".of-real figcaption").textContent = taped ? "Recording" : "Real game";
    $("#real-score-box span").textContent = taped ? "Recording" : "Real";
    this.tellRate();
  }

  // What it looks like now.
  frame(view, images) {
    let changed = false;
    for (const screen of this.screens) {
      const image = images[screen.dataset.name];
      changed ||= screen.hidden === Boolean(image);
      screen.hidden = !image;
      if (image) draw($("canvas", screen), image);
    }
    $("#inset").hidden = !images.small || !$("#show-inset").checked;
    if (images.small) draw($("#inset"), images.small);
    const first = images.dream ?? images.real;
    if (first) {
      this.shine(first);
      if (changed || first.width !== this.size[0] || first.height !== this.size[1]) {
        this.size = [first.width, first.height];
        this.fit();
      }
    }
    this.rate.drawn();
    this.tell(view);
  }

  get shown() {
    return this.screens.filter((screen) => !screen.hidden);
  }

  // The arrangement in rows and columns that makes the frames largest: a whole number of device pixels for each of
  // theirs, where there is room for one.
  fit() {
    const screens = $("#screens");
    const box = screens.getBoundingClientRect();
    const count = this.shown.length;
    if (!count || !box.width) return;
    const ratio = devicePixelRatio || 1;
    const gap = parseFloat(getComputedStyle(screens).rowGap);
    const canvas = $("canvas", this.shown[0]);
    const caption = this.shown[0].clientHeight - canvas.clientHeight;
    const frame = 4; // the line around a picture, on each side
    let best = { scale: 0, columns: 1 };
    for (let columns = 1; columns <= count; columns++) {
      const rows = Math.ceil(count / columns);
      const width = (box.width - gap * (columns - 1)) / columns - 2 * frame;
      const height = (box.height - gap * (rows - 1)) / rows - caption - 2 * frame;
      const fits = Math.max(0.01, Math.min(width / this.size[0], height / this.size[1]) * ratio);
      const scale = fits < 1 ? fits : Math.floor(fits); // large frames in a small window are made smaller
      if (scale > best.scale) best = { scale, columns };
    }
    screens.dataset.columns = best.columns;
    screens.style.gridTemplateColumns = `repeat(${best.columns}, auto)`;
    for (const each of this.screens.map((screen) => $("canvas", screen))) {
      each.style.width = `${(this.size[0] * best.scale) / ratio}px`;
      each.style.height = `${(this.size[1] * best.scale) / ratio}px`;
    }
  }

  // A few times a second is enough for a glow.
  shine(image) {
    const now = performance.now();
    if (now - (this.shone ?? 0) < 200) return;
    this.shone = now;
    const canvas = $("#glow"), { width, height } = canvas, on = canvas.getContext("2d");
    on.globalCompositeOperation = "copy";
    on.drawImage(image, 0, 0, width, height);
    // It fades outwards. In these few pixels that costs nothing; a mask of the whole window does, without a GPU.
    on.globalCompositeOperation = "destination-in";
    const fade = on.createRadialGradient(0, 0, 0.3, 0, 0, 1);
    fade.addColorStop(0, "#000");
    fade.addColorStop(1, "#0000");
    on.fillStyle = fade;
    on.save();
    on.scale(width / 2, height / 2);
    on.translate(1, 1);
    on.fillRect(-1, -1, 2, 2);
    on.restore();
  }

  tell(view) {
    $("#score").textContent = tidy(view.score);
    const both = this.shown.length > 1;
    $("#score-label").textContent = both ? "Dream" : "Score";
    $("#real-score-box").hidden = !both;
    $("#real-score").textContent = tidy(view.real_score);
    $("#step").textContent = `step ${view.step}`;
    if (view.reward && view.step !== this.lastStep) this.pop(view.reward);
    this.lastStep = view.step;
    document.body.dataset.step = view.step;
    const over = view.ended || view.truncated;
    if (over) this.rate.restart(); // it stands still for a moment
    document.body.classList.toggle("over", over);
    if (over) this.say(sentence(view.why) || (view.ended ? "Game over" : "The end"), "over");
    else if ($("#banner").matches(".shown[data-kind=over]")) this.say("");
  }

  tellRate() {
    const still = !this.state || this.state.paused || document.body.classList.contains("over");
    const { text, behind } = still ? { text: "", behind: false } : this.rate.read(this.state.fps);
    $("#rate").textContent = text;
    $("#rate").classList.toggle("behind", behind);
    $("#rate").title = behind ? "Frames a second that reach the screen, of those asked for" : "";
  }

  pop(reward) {
    const pop = $("#pop");
    pop.textContent = reward > 0 ? `+${tidy(reward)}` : tidy(reward);
    pop.className = "";
    void pop.offsetWidth; // lets the animation begin anew
    pop.className = `up ${signOf(reward)}`;
  }

  say(text, kind = "") {
    const banner = $("#banner");
    if (text) banner.textContent = text; // it fades out with its words
    if (text) banner.dataset.kind = kind;
    banner.classList.toggle("shown", Boolean(text));
  }
}

const tidy = (score) => (score === null ? "–" : String(Math.round(score * 100) / 100).replace("-", "−"));
const sentence = (words) => words && words[0].toUpperCase() + words.slice(1);
