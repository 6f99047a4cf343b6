// What goes on inside the model: predictions, policy, curves, context, and the frame as it emerges from noise.

import { $, colour, draw, make, percent, readable } from "./dom.js";

const KEPT = 240; // steps of a curve
const PARTS = {
  denoiser: "Denoiser", upsampler: "Upsampler", reward_end: "Reward and end", policy: "Policy", world: "World", real: "Real game",
};

export class Inside {
  constructor() {
    this.curves = { value: [], entropy: [] };
    this.smooth = {};
  }

  meet(info) {
    this.names = info.action_names;
    this.curves = { value: [], entropy: [] };
    this.rewardBars = buildBars($("#reward-bars"), ["−1", "0", "+1"], ["negative", "neutral", "positive"]);
    this.policyBars = buildBars($("#policy-bars"), this.names.map((name) => readable(name)));
    $("#policy-note").textContent = info.players.agent ?? "";
  }

  // Curves go on while the panel is closed; all else is drawn only where it is seen.
  show(view, images, visible) {
    this.remember(view);
    if (!visible) return;
    fillBars(this.rewardBars, view.reward_probs);
    fillBars(this.policyBars, view.policy, view.action);
    const end = view.end_prob;
    $("#end-dial b").textContent = end === null ? "–" : percent(end);
    $("#end-dial i").style.width = `${100 * (end ?? 0)}%`;
    for (const name of ["value", "entropy"]) this.drawCurve(name);
    for (const name of ["context", "trajectory"]) tiles($(`#${name}`), images[name], images.dream?.width);
    for (const name of ["small_context", "small_trajectory"]) tiles($(`#${name}`), images[name], images.small?.width);
    this.drawTimes(view);
  }

  remember(view) {
    for (const name of ["value", "entropy"]) {
      this.curves[name].push({ y: view[name], cut: view.step === 0 });
      if (this.curves[name].length > KEPT) this.curves[name].shift();
    }
    for (const [part, ms] of Object.entries(view.milliseconds)) {
      this.smooth[part] = 0.8 * (this.smooth[part] ?? ms) + 0.2 * ms;
    }
    for (const part of Object.keys(this.smooth)) if (!(part in view.milliseconds)) delete this.smooth[part];
  }

  drawCurve(name) {
    const points = this.curves[name];
    const last = points.at(-1)?.y ?? null;
    $(`#${name}-now`).textContent = last === null ? "" : last.toFixed(2).replace("-", "−");
    const canvas = $(`#${name}-curve`);
    const ratio = devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    const values = points.map((p) => p.y).filter((y) => y !== null);
    if (!values.length) return;
    const [low, high] = span(values);
    const x = (i) => ((i + KEPT - points.length) / (KEPT - 1)) * (width - 6);
    const y = (value) => height - ((value - low) / (high - low)) * height;
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    context.strokeStyle = colour("line");
    if (low < 0 && high > 0) line(context, [[0, y(0)], [width, y(0)]]);
    const ink = getComputedStyle(canvas).color;
    context.strokeStyle = ink;
    context.lineWidth = 1.75;
    context.lineJoin = "round";
    for (const piece of pieces(points)) line(context, piece.map((i) => [x(i), y(points[i].y)]));
    context.fillStyle = ink;
    if (last === null) return;
    context.beginPath();
    context.arc(x(points.length - 1), y(last), 3, 0, 2 * Math.PI);
    context.fill();
  }

  drawTimes(view) {
    const parts = Object.entries(this.smooth).filter(([, ms]) => ms > 0);
    const total = parts.reduce((sum, [, ms]) => sum + ms, 0);
    $("#time-now").textContent = `${total.toFixed(1)} ms, ${view.fps.toFixed(1)} steps/s`;
    $("#time-stack").replaceChildren(...parts.map(([part, ms]) => {
      const piece = make("i", { dataset: { part } });
      piece.style.flexGrow = ms;
      return piece;
    }));
    $("#time-legend").replaceChildren(...parts.map(([part, ms]) =>
      make("li", { dataset: { part } }, PARTS[part] ?? readable(part), make("b", { textContent: ms.toFixed(1) }))));
  }
}

function buildBars(box, labels, kinds = []) {
  const bars = labels.map((label, i) => make("div", { className: `bar ${kinds[i] ?? ""}` },
    make("span", { textContent: label }), make("span", { className: "meter" }, make("i")), make("b")));
  box.replaceChildren(...bars);
  return bars;
}

function fillBars(bars, probs, chosen = null) {
  bars.forEach((bar, i) => {
    const p = probs?.[i] ?? null;
    $("i", bar).style.width = `${100 * (p ?? 0)}%`;
    $("b", bar).textContent = p === null ? "–" : percent(p);
    bar.classList.toggle("chosen", Array.isArray(chosen) ? Boolean(chosen[i]) : i === chosen);
  });
}

// A strip of frames, each of this width, as canvases of their own.
function tiles(box, strip, frameWidth) {
  const count = strip ? strip.width / frameWidth : 0;
  while (box.children.length > count) box.lastChild.remove();
  while (box.children.length < count) box.append(make("canvas"));
  [...box.children].forEach((canvas, i) => draw(canvas, strip, i * frameWidth, frameWidth));
}

// What a curve shows from bottom to top: its values with some air, and never less than a half.
function span(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const air = Math.max(0.1 * (high - low), (0.5 - (high - low)) / 2);
  return [low - air, high + air];
}

// Runs of consecutive points: a new game, or a step without a value, breaks the line.
function pieces(points) {
  const found = [];
  points.forEach(({ y, cut }, i) => {
    if (y === null) return;
    if (cut || i === 0 || points[i - 1].y === null) found.push([]);
    found.at(-1).push(i);
  });
  return found;
}

function line(context, points) {
  context.beginPath();
  points.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
  context.stroke();
}
