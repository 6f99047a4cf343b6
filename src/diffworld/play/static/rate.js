// How many frames a second reach the screen, and how many were wished for.

const WINDOW_MS = 2000;
const SURE_AFTER_MS = 800;

export class Rate {
  constructor() {
    this.times = [];
    this.waits = false;
  }

  // Count anew: the game stood still, or another speed was chosen.
  restart() {
    this.times = [];
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
    const span = this.times.length ? Math.max(this.times.at(-1), now - 1000 / wanted) - this.times[0] : 0;
    if (span < SURE_AFTER_MS) return { text: this.times.length ? "" : `0 of ${wanted} fps`, behind: !this.times.length };
    const rate = Math.round((1000 * (this.times.length - 1)) / span);
    const behind = rate < 0.9 * wanted - 0.5;
    return { text: behind ? `${rate} of ${wanted} fps` : `${rate} fps`, behind };
  }
}
