// Settings of the session. The server's word counts: controls show what it says, and only ask for changes.

import { $, $$, draw, make, trying } from "./dom.js";

const STARTS_A_PAGE = 24;
const SAMPLERS = {
  fast: { denoising_steps: 1, upsampling_steps: 1 },
  quality: { denoising_steps: 3, upsampling_steps: 10 },
};

export class Controls {
  constructor(link) {
    this.link = link;
    this.offset = 0;
    const set = (name, value) => link.send({ type: "set", [name]: value });
    for (const input of $$("[data-setting]")) {
      input.addEventListener("input", () => this.label(input));
      input.addEventListener("change", () => {
        if (input.reportValidity() && input.value !== "") set(input.id, Number(input.value));
      });
    }
    for (const name of ["player", "world", "rules", "order", "upsampling_order"]) {
      for (const input of $$(`input[name=${name}]`)) {
        input.addEventListener("change", () => set(name, name.endsWith("order") ? Number(input.value) : input.value));
      }
    }
    $("#fps").addEventListener("input", ({ target }) => this.label(target));
    $("#fps").addEventListener("change", ({ target }) => link.send({ type: "pace", fps: Number(target.value) }));
    for (const [id, steps] of Object.entries(SAMPLERS)) {
      $(`#${id}`).addEventListener("click", () => link.send({ type: "set", ...steps }));
    }
    $("#replay").addEventListener("click", () => link.send({ type: "set", player: "replay" }));
    $("#sensitivity").addEventListener("input", ({ target }) => this.label(target));
    $("#dice").addEventListener("click", () => set("seed", Math.floor(Math.random() * 2 ** 31)));
    $("#choose-start").addEventListener("click", trying(() => this.openStarts(0)));
    $("#starts-less").addEventListener("click", trying(() => this.openStarts(this.offset - STARTS_A_PAGE)));
    $("#starts-more").addEventListener("click", trying(() => this.openStarts(this.offset + STARTS_A_PAGE)));
    $("#defaults").addEventListener("click", () => {
      link.send({ type: "set", ...this.defaults });
      link.send({ type: "pace", fps: this.fps });
    });
  }

  // What this model can do; what it cannot is greyed, and says why.
  meet(info) {
    for (const [name, reasons] of [["player", info.players], ["world", info.worlds]]) {
      for (const input of $$(`input[name=${name}]`)) {
        const reason = reasons[input.value];
        input.disabled = Boolean(reason);
        input.parentElement.title = reason ?? "";
      }
    }
    for (const [name, [low, high]] of Object.entries(info.ranges)) {
      const input = document.getElementById(name);
      if (input?.matches("[data-setting]")) Object.assign(input, { min: low, max: name === "temperature" ? Math.min(3, high) : high });
    }
    $("#choose-start").disabled = Boolean(info.worlds.dream);
    Object.assign(this, { defaults: info.defaults, fps: info.fps });
    $("#own-steps").textContent = aboutSteps(info.defaults.denoising_steps);
  }

  show(state) {
    for (const [name, value] of Object.entries(state.settings)) {
      const input = document.getElementById(name);
      if (input?.matches("[data-setting]") && input !== document.activeElement) {
        input.value = value;
        this.label(input);
      }
      for (const radio of $$(`input[name=${name}]`)) radio.checked = radio.value === String(value);
    }
    for (const player of ["recording", "replay"]) {
      $(`input[value=${player}]`).parentElement.hidden = state.settings.player !== player;
    }
    $("#replay").disabled = state.settings.world !== "dream";
    for (const [id, steps] of Object.entries(SAMPLERS)) {
      const chosen = Object.entries(steps).every(([name, count]) => state.settings[name] === count);
      $(`#${id}`).setAttribute("aria-pressed", chosen);
    }
    this.label($("#sensitivity"));
    if ($("#fps") !== document.activeElement) $("#fps").value = state.fps;
    this.label($("#fps"));
  }

  label(input) {
    const output = $(`output[for=${input.id}]`);
    if (output) output.textContent = input.value;
    if (input.type === "range") {
      const share = (input.value - input.min) / (input.max - input.min);
      input.style.setProperty("--share", `${100 * share}%`);
    }
  }

  async openStarts(offset) {
    this.offset = Math.max(0, offset);
    const { starts, total, images } = await this.link.ask({ type: "starts", offset: this.offset, count: STARTS_A_PAGE });
    $("#gallery").replaceChildren(...starts.map((start) => this.startButton(start, images[start.id])));
    $("#starts-range").textContent = `${this.offset + 1} to ${this.offset + starts.length} of ${total}`;
    $("#starts-less").disabled = this.offset === 0;
    $("#starts-more").disabled = this.offset + starts.length >= total;
    if (!$("#starts").open) $("#starts").showModal();
  }

  startButton(start, image) {
    const canvas = make("canvas");
    draw(canvas, image);
    const label = `Episode ${start.episode}, step ${start.step}`;
    const button = make("button", { title: label, ariaLabel: label }, canvas, make("small", { textContent: `${start.episode} · ${start.step}` }));
    button.addEventListener("click", () => {
      this.link.send({ type: "reset", start: start.id });
      $("#starts").close();
    });
    return button;
  }
}

// What is true of this model: the number that it was set up with, and what another one may do.
export function aboutSteps(own) {
  const set = `This model is set up for ${own}.`;
  if (own === 1) return `${set} With more, each frame takes as many times the work; it may be sharper at first, and the dream may fall apart sooner.`;
  return `${set} Fewer are faster and blurrier. More take more work, and may be sharper or not.`;
}
