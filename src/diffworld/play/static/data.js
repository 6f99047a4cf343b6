// The data sets and recordings, and the episodes of one of them.

import { $, ask, draw, make, signOf, toast, trying } from "./dom.js";
import { drawMarks } from "./marks.js";
import { Viewer } from "./viewer.js";

const EPISODES_A_PAGE = 30;
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const tidy = (number) => String(Math.round(number * 100) / 100).replace("-", "−");
const count = (number, what) => `${short.format(number)} ${what}${number === 1 ? "" : "s"}`;
const TITLES = { replay: "Replay", held_out: "Test games", data: "Training data", starts: "Starts" };
const WORLDS = { dream: "Dream", real: "Real game", recording: "Replayed recording" };

// A recording has the title it was given, else its world and the time in its name, as in 20260131-174502-dream-x1y2.
export function titleOf({ name, kind, info }) {
  if (info.title) return String(info.title);
  const [, year, month, day, hour, minute, world] = name.match(/^(\d{4})(\d\d)(\d\d)-(\d\d)(\d\d)\d\d-([a-z]+)/) ?? [];
  if (!WORLDS[world]) return TITLES[kind] ?? name;
  const date = new Date(year, month - 1, day, hour, minute);
  const when = date.toLocaleString("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
  return `${WORLDS[world]}, ${when}`;
}

export class Data {
  constructor(link) {
    this.link = link;
    this.viewer = new Viewer(link);
    this.chosen = null;
    $("#viewer-back").addEventListener("click", trying(() => this.list()));
    $("#rename").addEventListener("click", trying(() => this.rename(this.chosen)));
    $("#delete").addEventListener("click", trying(() => this.delete(this.chosen)));
  }

  meet(info) {
    this.viewer.meet(info);
  }

  stop() {
    this.viewer.stop();
  }

  // All data sets, and the episodes of the one that is unfolded.
  async list() {
    this.viewer.close();
    const { datasets } = await this.link.ask({ type: "datasets" });
    const several = new Set(datasets.map(({ game }) => game).filter(Boolean)).size > 1;
    $("#datasets").replaceChildren(...datasets.map((dataset) => this.datasetButton(dataset, several)));
    if (!datasets.length) $("#datasets").replaceChildren(make("p", { className: "empty", textContent: "Nothing is stored yet. Press record and play: what you do becomes an episode here." }));
    const chosen = datasets.find(({ id }) => id === this.chosen?.id) ?? datasets.find(({ error }) => !error);
    $("#episodes").replaceChildren();
    $("#edit").hidden = true;
    if (chosen) await this.choose(chosen);
  }

  datasetButton(dataset, named) {
    const game = named ? `${dataset.game}: ` : "";
    const facts = dataset.error ?? `${game}${count(dataset.episodes, "episode")}, ${count(dataset.steps, "step")}`;
    const button = make("button", { className: "dataset", disabled: Boolean(dataset.error), dataset: { id: dataset.id } },
      make("b", { textContent: titleOf(dataset) }), make("small", { textContent: facts }));
    button.addEventListener("click", trying(() => this.choose(dataset)));
    return button;
  }

  async choose(dataset) {
    this.chosen = dataset;
    for (const button of $("#datasets").children) button.setAttribute("aria-pressed", button.dataset.id === dataset.id);
    $("#edit").hidden = !dataset.editable;
    $("#episodes").replaceChildren();
    await this.more(dataset, 0);
  }

  async more(dataset, offset) {
    const { episodes, images } = await this.link.ask({ type: "episodes", dataset: dataset.id, offset, count: EPISODES_A_PAGE });
    if (this.chosen !== dataset) return;
    $("#episodes .more")?.remove();
    $("#episodes").append(...episodes.map((episode) => this.episodeButton(dataset, episode, images[episode.id])));
    if (offset + episodes.length >= dataset.episodes || !episodes.length) return;
    const more = make("button", { className: "wide more", textContent: "Show more" });
    more.addEventListener("click", trying(() => this.more(dataset, offset + episodes.length)));
    $("#episodes").append(more);
  }

  episodeButton(dataset, episode, image) {
    const picture = make("canvas", { className: "picture" });
    draw(picture, image);
    const marks = make("canvas", { className: "marks", width: 300, height: 10 });
    drawMarks(marks, episode.steps, episode.reward_steps, episode.ended);
    const result = make("b", { className: signOf(episode.return), textContent: tidy(episode.return) });
    const button = make("button", { className: "episode" }, picture, make("span", { textContent: `Episode ${episode.id}` }), make("small", { textContent: count(episode.steps, "step") }), result, marks);
    button.addEventListener("click", trying(() => this.viewer.show(dataset, episode, titleOf(dataset))));
    return button;
  }

  async rename(dataset) {
    const title = await ask({ title: "Rename the recording", text: "An empty name keeps the old one.", answer: titleOf(dataset), yes: "Rename" });
    if (!title) return;
    await this.link.ask({ type: "rename", dataset: dataset.id, title });
    await this.list();
  }

  async delete(dataset) {
    const what = `${count(dataset.episodes, "episode")}, ${count(dataset.steps, "step")}`;
    const sure = await ask({ title: `Delete “${titleOf(dataset)}”?`, text: `${what}. It is gone from the disk then, and cannot be brought back.`, yes: "Delete", danger: true });
    if (!sure) return;
    await this.link.ask({ type: "delete", dataset: dataset.id });
    toast("The recording is deleted.");
    await this.list();
  }
}
