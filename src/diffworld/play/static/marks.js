// Where an episode had rewards, and whether it ended: marks on a line.

import { colour, signOf } from "./dom.js";

// `rewards` is a list of [step, sign].
export function drawMarks(canvas, steps, rewards, ended) {
  const context = canvas.getContext("2d");
  const { width, height } = canvas;
  const thick = Math.max(2, width / 200);
  const at = (step) => (step / Math.max(1, steps)) * (width - thick);
  for (const [step, sign] of rewards) {
    context.fillStyle = colour(signOf(sign));
    context.fillRect(at(step), sign > 0 ? 0 : height / 2, thick, height / 2);
  }
  if (!ended) return;
  context.fillStyle = colour("difference");
  context.fillRect(width - thick, 0, thick, height);
}
