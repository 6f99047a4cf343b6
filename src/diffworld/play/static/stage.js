// The worlds on screen: canvases scaled by whole pixels, score, and what has just happened.

import { $, $$, draw, signOf } from "./dom.js";

const GAP = 20;
const CAPTION = 34;

export class Stage {
  constructor() {
    this.screens = $$(".screen");
    this.size = [1, 1];
    this.times = [];
    this.lastStep = 0;
    new ResizeObserver(() => this.fit()).observe($("#stage"));
  }

  get shown() {
    return this.screens.filter((screen) => !screen.hidden);
  }

  show(view, images) {
    let changed = false;
    for (const screen of this.screens) {
      const image = images[screen.dataset.name];
      changed ||= screen.hidden === Boolean(image);
      screen.hidden = !image;
      if (image) draw($("canvas", screen), image);
    }
    const first = images.dream ?? images.real;
    if (first) {
      this.shine(first);
      if (changed || first.width !== this.size[0] || first.height !== this.size[1]) {
        this.size = [first.width, first.height];
        this.fit();
      }
    }
    this.count();
    this.tell(view);
  }

  // The arrangement in rows and columns that makes the frames largest, by a whole number of device pixels each.
  fit() {
    const box = $("#screens").getBoundingClientRect();
    const count = this.shown.length;
    if (!count || !box.width) return;
    const ratio = devicePixelRatio || 1;
    let best = { scale: 0, columns: 1 };
    for (let columns = 1; columns <= count; columns++) {
      const rows = Math.ceil(count / columns);
      const width = (box.width - GAP * (columns - 1)) / columns;
      const height = (box.height - GAP * (rows - 1)) / rows - CAPTION;
      const scale = Math.max(1, Math.floor(Math.min(width / this.size[0], height / this.size[1]) * ratio));
      if (scale > best.scale) best = { scale, columns };
    }
    $("#screens").dataset.columns = best.columns;
    $("#screens").style.gridTemplateColumns = `repeat(${best.columns}, auto)`;
    for (const canvas of this.screens.map((screen) => $("canvas", screen))) {
      canvas.style.width = `${(this.size[0] * best.scale) / ratio}px`;
      canvas.style.height = `${(this.size[1] * best.scale) / ratio}px`;
    }
  }

  // A few times a second is enough for a glow.
  shine(image) {
    const now = performance.now();
    if (now - (this.shone ?? 0) < 200) return;
    this.shone = now;
    const canvas = $("#glow");
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  }

  count() {
    const now = performance.now();
    this.times.push(now);
    while (now - this.times[0] > 2000) this.times.shift();
  }

  // Frames drawn a second, over the last two.
  get rate() {
    const span = this.times.at(-1) - this.times[0];
    return span > 0 ? ((this.times.length - 1) / span) * 1000 : 0;
  }

  tell(view) {
    $("#score").textContent = tidy(view.score);
    const both = this.shown.length > 1;
    $("#score-label").textContent = both ? "Dream" : "Score";
    $("#real-score-box").hidden = !both;
    $("#real-score").textContent = tidy(view.real_score);
    $("#facts").textContent = `step ${view.step}  ·  ${this.rate.toFixed(0)} fps`;
    if (view.reward && view.step !== this.lastStep) this.pop(view.reward);
    this.lastStep = view.step;
    document.body.dataset.step = view.step;
    const over = view.ended || view.truncated;
    document.body.classList.toggle("over", over);
    if (over) this.say(sentence(view.why) || (view.ended ? "Game over" : "The end"), "over");
    else if ($("#banner").matches(".shown[data-kind=over]")) this.say("");
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
