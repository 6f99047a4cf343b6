// How many frames a second reach the screen, and how many were wished for.

const WINDOW_MS = 2000;
const SURE_AFTER_MS = 800;

export class Rate {
  constructor() {
    this.waits = false;
    this.restart();
  }

  // Count anew: the game stood still, or another speed was chosen.
  restart(now = performance.now()) {
    this.times = []; // when frames were shown
    this.since = now;
  }

  // A frame was drawn; only the last one before the screen shows it counts.
  drawn() {
    if (this.waits) return;
    this.waits = true;
    requestAnimationFrame((now) => {
      this.waits = false;
      this.times.push(now);
    });
  }

  // {text, behind}, for a game that wants so many.
  read(wanted, now = performance.now()) {
    while (this.times.length && now - this.times[0] > WINDOW_MS) this.times.shift();
    if (now - this.since < SURE_AFTER_MS) return { text: "", behind: false };
    const due = Math.max(this.times.at(-1), now - 1000 / wanted);
    const rate = this.times.length ? Math.round((1000 * (this.times.length - 1)) / (due - this.times[0] || 1)) : 0;
    const behind = rate < 0.9 * wanted - 0.5;
    return { text: behind ? `${rate} of ${wanted} fps` : `${rate} fps`, behind };
  }
}
