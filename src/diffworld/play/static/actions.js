// From the keys that are held to one action of the game, and back. Knows nothing of the page.

const PARTS = ["UP", "DOWN", "LEFT", "RIGHT", "FIRE"];
const KEYS = {
  ArrowUp: "UP", ArrowDown: "DOWN", ArrowLeft: "LEFT", ArrowRight: "RIGHT",
  KeyW: "UP", KeyS: "DOWN", KeyA: "LEFT", KeyD: "RIGHT", Space: "FIRE",
};

// "UPRIGHTFIRE" -> ["UP", "RIGHT", "FIRE"]; null where the name is not made of such parts.
export function partsOf(name) {
  if (name === "NOOP") return [];
  const found = [];
  for (let rest = name; rest; ) {
    const part = PARTS.find((p) => rest.startsWith(p));
    if (!part) return null;
    found.push(part);
    rest = rest.slice(part.length);
  }
  return found;
}

export class Actions {
  constructor(names) {
    this.names = names;
    this.parts = names.map(partsOf);
    this.composed = this.parts.every(Boolean);
    if (!this.composed) this.parts = names.map((name) => [name]);
    this.idle = Math.max(0, names.indexOf("NOOP"));
    // The keys to draw, in a fixed order; idling needs none.
    this.keys = this.composed
      ? PARTS.filter((part) => this.parts.some((parts) => parts.includes(part)))
      : names.filter((_, i) => i !== this.idle || names[i] !== "NOOP");
  }

  // Which drawn key a key of the keyboard means: arrows, WASD and space, or 1-9 and 0 for other names.
  keyFor(code) {
    if (this.composed) return this.keys.includes(KEYS[code]) ? KEYS[code] : null;
    const digit = code.match(/^(?:Digit|Numpad)(\d)$/)?.[1];
    return digit === undefined ? null : this.keys[(Number(digit) + 9) % 10] ?? null;
  }

  // The action nearest to the held keys (latest last): of those that press no other key, the one with most of
  // them; among equals the one with the latest.
  nearest(held) {
    let best = this.idle, bestScore = 0;
    this.parts.forEach((parts, action) => {
      if (!parts.length || !parts.every((part) => held.includes(part))) return;
      const score = parts.reduce((sum, part) => sum + 1000 + held.indexOf(part), 0);
      if (score > bestScore) [best, bestScore] = [action, score];
    });
    return best;
  }
}
