// The browser for data sets and recordings: list, scrub, watch again, export.

import { inWords } from "./actions.js";
import { $, draw, icon, make, signOf, toast } from "./dom.js";

const EPISODES_A_PAGE = 30;
const COLOURS = { positive: "#62e39a", negative: "#ff7186", end: "#ffb65c" };
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const tidy = (number) => String(Math.round(number * 100) / 100).replace("-", "−");
const count = (number, what) => `${short.format(number)} ${what}${number === 1 ? "" : "s"}`;
const TITLES = { replay: "Replay", held_out: "Test games", data: "Training data", starts: "Starts" };

// Recordings carry their time in their name, as in 20260131-174502-dream-x1y2.
export function titleOf({ name, kind }) {
  const [, year, month, day, hour, minute, world] = name.match(/^(\d{4})(\d\d)(\d\d)-(\d\d)(\d\d)\d\d-(dream|real)/) ?? [];
  if (!year) return TITLES[kind] ?? name;
  const date = new Date(year, month - 1, day, hour, minute);
  const when = date.toLocaleString("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
  return `${world === "dream" ? "Dream" : "Real game"}, ${when}`;
}

export class Data {
  constructor(link) {
    this.link = link;
    this.open = null; // {dataset, episode, table, steps}
    this.timer = 0;
    $("#viewer-back").addEventListener("click", () => this.list());
    $("#viewer-step").addEventListener("input", ({ target }) => this.seek(Number(target.value)));
    $("#viewer-play").addEventListener("click", () => (this.timer ? this.stop() : this.run()));
    $("#viewer-watch").addEventListener("click", () => {
      this.stop();
      link.send({ type: "watch", dataset: this.open.dataset.id, episode: this.open.episode.id });
      link.send({ type: "pause", on: false });
    });
    for (const kind of ["mp4", "gif"]) $(`#export-${kind}`).addEventListener("click", () => this.export(kind));
    new ResizeObserver(() => this.open && this.drawMarks()).observe($(".timeline"));
  }

  meet(info) {
    this.fps = info.fps;
  }

  // All data sets, and the episodes of the one that is unfolded.
  async list() {
    this.stop();
    this.open = null;
    $("#viewer").hidden = true;
    $("#browse").hidden = false;
    const { datasets } = await this.link.ask({ type: "datasets" });
    $("#datasets").replaceChildren(...datasets.map((dataset) => this.datasetButton(dataset)));
    if (!datasets.length) $("#datasets").replaceChildren(make("p", { className: "empty", textContent: "Nothing is stored yet. Press record and play: what you do becomes an episode here." }));
    const chosen = datasets.find(({ id }) => id === this.chosen) ?? datasets.find(({ error }) => !error);
    if (chosen) await this.choose(chosen);
    else $("#episodes").replaceChildren();
  }

  datasetButton(dataset) {
    const facts = dataset.error ?? `${count(dataset.episodes, "episode")}, ${count(dataset.steps, "step")}`;
    const button = make("button", { className: "dataset", disabled: Boolean(dataset.error), dataset: { id: dataset.id } },
      make("b", { textContent: titleOf(dataset) }), make("small", { textContent: facts }));
    button.addEventListener("click", () => this.choose(dataset).catch((error) => toast(error.message, "bad")));
    return button;
  }

  async choose(dataset) {
    this.chosen = dataset.id;
    for (const button of $("#datasets").children) button.setAttribute("aria-pressed", button.dataset.id === dataset.id);
    $("#episodes").replaceChildren();
    await this.more(dataset, 0);
  }

  async more(dataset, offset) {
    const { episodes } = await this.link.ask({ type: "episodes", dataset: dataset.id, offset, count: EPISODES_A_PAGE });
    if (this.chosen !== dataset.id) return;
    $("#episodes .more")?.remove();
    $("#episodes").append(...episodes.map((episode) => this.episodeButton(dataset, episode)));
    if (offset + episodes.length >= dataset.episodes || !episodes.length) return;
    const more = make("button", { className: "wide more", textContent: "Show more" });
    more.addEventListener("click", () => this.more(dataset, offset + episodes.length));
    $("#episodes").append(more);
  }

  episodeButton(dataset, episode) {
    const marks = make("canvas", { width: 300, height: 10 });
    drawMarks(marks, episode.steps, episode.reward_steps, episode.ended);
    const result = make("b", { className: signOf(episode.return), textContent: tidy(episode.return) });
    const button = make("button", { className: "episode" }, make("span", { textContent: `Episode ${episode.id}` }), make("small", { textContent: `${episode.steps} steps` }), result, marks);
    button.addEventListener("click", () => this.view(dataset, episode).catch((error) => toast(error.message, "bad")));
    return button;
  }

  async view(dataset, episode) {
    const { table } = await this.link.ask({ type: "table", dataset: dataset.id, episode: episode.id });
    this.open = { dataset, episode, table, steps: table.rewards.length, last: table.frames - 1 };
    $("#browse").hidden = true;
    $("#viewer").hidden = false;
    $("#viewer-back span").textContent = `${titleOf(dataset)}, episode ${episode.id}`;
    Object.assign($("#viewer-step"), { max: this.open.last, value: 0 });
    this.drawMarks();
    await this.seek(0);
  }

  drawMarks() {
    const canvas = $("#viewer-marks");
    canvas.width = canvas.clientWidth * (devicePixelRatio || 1);
    canvas.height = canvas.clientHeight * (devicePixelRatio || 1);
    const rewards = this.open.table.rewards.map((reward, i) => [i + 1, Math.sign(reward)]).filter(([, sign]) => sign);
    drawMarks(canvas, this.open.steps, rewards, this.open.table.terminated);
  }

  // Only the newest wish is fetched; those in between are passed over.
  async seek(step) {
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

  async export(kind) {
    const button = $(`#export-${kind}`);
    button.disabled = true;
    try {
      const { dataset, episode } = this.open;
      const { film, name } = await this.link.ask({ type: "export", dataset: dataset.id, episode: episode.id, kind, fps: this.fps });
      make("a", { href: `/films/${film}`, download: name }).click();
      toast(`Saved ${name}`);
    } catch (error) {
      toast(error.message, "bad");
    } finally {
      button.disabled = false;
    }
  }
}

function drawMarks(canvas, steps, rewards, ended) {
  const context = canvas.getContext("2d");
  const { width, height } = canvas;
  const thick = Math.max(2, width / 200);
  const at = (step) => (step / Math.max(1, steps)) * (width - thick);
  for (const [step, sign] of rewards) {
    context.fillStyle = COLOURS[signOf(sign)];
    context.fillRect(at(step), sign > 0 ? 0 : height / 2, thick, height / 2);
  }
  if (!ended) return;
  context.fillStyle = COLOURS.end;
  context.fillRect(width - thick, 0, thick, height);
}
