// One episode: scrub through it, watch it, play its actions again, take it away as a film.

import { inWords } from "./actions.js";
import { $, draw, icon, make, toast, trying } from "./dom.js";
import { drawMarks } from "./marks.js";

const tidy = (number) => String(Math.round(number * 100) / 100).replace("-", "−");
const OTHER = { dream: "the dream", real: "the real game", recording: "the recording" };

export class Viewer {
  constructor(link) {
    this.link = link;
    this.open = null; // {dataset, episode, table, steps, last}
    this.timer = 0;
    $("#viewer-step").addEventListener("input", ({ target }) => this.seek(Number(target.value)));
    $("#viewer-play").addEventListener("click", () => (this.timer ? this.stop() : this.run()));
    $("#viewer-watch").addEventListener("click", () => this.watch());
    for (const kind of ["mp4", "gif"]) $(`#export-${kind}`).addEventListener("click", () => this.export(kind));
    new ResizeObserver(() => this.drawMarks()).observe($(".timeline"));
  }

  meet(info) {
    this.fps = info.fps;
  }

  async show(dataset, episode, title) {
    const { table } = await this.link.ask({ type: "table", dataset: dataset.id, episode: episode.id });
    this.open = { dataset, episode, table, steps: table.rewards.length, last: table.frames - 1 };
    $("#browse").hidden = true;
    $("#viewer").hidden = false;
    $("#viewer-back span").textContent = `${title}, episode ${episode.id}`;
    $("#beside-label").hidden = !table.beside;
    $("#beside-label span").textContent = `Film it side by side with ${OTHER[table.beside]}`;
    Object.assign($("#viewer-step"), { max: this.open.last, value: 0 });
    this.drawMarks();
    await this.seek(0);
  }

  close() {
    this.stop();
    this.open = null;
    $("#viewer").hidden = true;
    $("#browse").hidden = false;
  }

  drawMarks() {
    if (!this.open) return;
    const canvas = $("#viewer-marks");
    canvas.width = canvas.clientWidth * (devicePixelRatio || 1);
    canvas.height = canvas.clientHeight * (devicePixelRatio || 1);
    const rewards = this.open.table.rewards.map((reward, i) => [i + 1, Math.sign(reward)]).filter(([, sign]) => sign);
    drawMarks(canvas, this.open.steps, rewards, this.open.table.terminated);
  }

  // Only the newest wish is fetched; those in between are passed over.
  async seek(step) {
    if (!this.open) return;
    this.wanted = step;
    this.describe(step);
    if (this.fetching) return;
    this.fetching = true;
    try {
      for (let shown = null; this.open && shown !== this.wanted; ) {
        shown = this.wanted;
        const { dataset, episode } = this.open;
        const { images } = await this.link.ask({ type: "frame", dataset: dataset.id, episode: episode.id, step: shown });
        draw($("#viewer-canvas"), images.frame);
        $("#viewer").dataset.step = shown;
      }
    } catch (error) {
      toast(error.message, "bad");
    } finally {
      this.fetching = false;
    }
  }

  // Frame t is what was seen after t actions; the row before it says which action led there.
  describe(step) {
    const { table, steps, last } = this.open;
    $("#viewer-step").value = step;
    $("#viewer-step").style.setProperty("--share", `${(100 * step) / Math.max(1, last)}%`);
    const words = [`Step ${step} of ${steps}`];
    if (step > 0) {
      words.push(inWords(table.actions[step - 1], table.action_names), `reward ${tidy(table.rewards[step - 1])}`);
      if (step === steps && table.terminated) words.push("game over");
      if (step === steps && table.truncated) words.push("cut short");
    }
    $("#viewer-caption").textContent = words.join("  ·  ");
  }

  run() {
    if (!this.open) return;
    icon($("#viewer-play"), "pause", "Pause the episode");
    if (this.wanted >= this.open.last) this.wanted = -1;
    this.timer = setInterval(() => {
      if (this.fetching) return;
      if (this.wanted >= this.open.last) return this.stop();
      this.seek(this.wanted + 1);
    }, 1000 / this.fps);
  }

  stop() {
    clearInterval(this.timer);
    this.timer = 0;
    icon($("#viewer-play"), "play", "Play the episode");
  }

  watch() {
    if (!this.open) return;
    this.stop();
    this.link.send({ type: "watch", dataset: this.open.dataset.id, episode: this.open.episode.id });
    this.link.send({ type: "pause", on: false });
  }

  async export(kind) {
    if (!this.open) return;
    const button = $(`#export-${kind}`);
    button.disabled = true;
    await trying(async () => {
      const { dataset, episode, table } = this.open;
      const beside = Boolean(table.beside) && $("#beside").checked;
      const { film, name } = await this.link.ask({ type: "export", dataset: dataset.id, episode: episode.id, kind, fps: this.fps, beside });
      make("a", { href: `/films/${film}`, download: name }).click();
      toast(`Saved ${name}`);
    })();
    button.disabled = false;
  }
}
