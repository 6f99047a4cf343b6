// From the keys that are held to an action of the game, and back. Knows nothing of the page.

const PARTS = ["UP", "DOWN", "LEFT", "RIGHT", "FIRE"];
const KEYS = {
  ArrowUp: "UP", ArrowDown: "DOWN", ArrowLeft: "LEFT", ArrowRight: "RIGHT",
  KeyW: "UP", KeyS: "DOWN", KeyA: "LEFT", KeyD: "RIGHT", Space: "FIRE",
};

const HINTS = { UP: "W", DOWN: "S", LEFT: "A", RIGHT: "D", FIRE: "space" };
const ARROWS = { ArrowUp: "↑", ArrowDown: "↓", ArrowLeft: "←", ArrowRight: "→" };
export const labelOf = (code) => ARROWS[code] ?? code?.replace(/^(Key|Digit)/, "") ?? "";

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

// One choice: an action is its number.
export class Actions {
  constructor(names, idle = Math.max(0, names.indexOf("NOOP")), codes = {}) {
    this.names = names;
    this.idle = idle;
    this.codes = codes;
    this.parts = names.map(partsOf);
    this.composed = this.parts.every(Boolean);
    this.ways = this.composed ? { UP: "UP", DOWN: "DOWN", LEFT: "LEFT", RIGHT: "RIGHT" } : {};
    if (!this.composed) this.parts = names.map((name) => [name]);
    // The keys to draw, in a fixed order; idling needs none.
    this.keys = this.composed
      ? PARTS.filter((part) => this.parts.some((parts) => parts.includes(part)))
      : names.filter((_, i) => i !== this.idle || names[i] !== "NOOP");
  }

  // Which drawn key a key of the keyboard means: the game's own, else arrows, WASD and space, or 1-9 and 0 for other
  // names.
  keyFor(code) {
    const own = this.keys.find((key) => this.codes[key] === code);
    if (own) return own;
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

  // What is written on the key of the keyboard.
  hint(key, index) {
    if (this.codes[key]) return labelOf(this.codes[key]);
    return this.composed ? HINTS[key] : index < 10 ? String((index + 1) % 10) : "";
  }

  isIdle(action) {
    return action === this.idle;
  }

  // The drawn keys that stand for an action.
  keysOf(action) {
    return this.parts[action] ?? [];
  }
}

// Keys for what the mouse does, where the game has no use of its own for them.
const INSTEAD = { "left click": "Space", "right click": "ShiftLeft" };
const WALKING = [["w", "UP"], ["s", "DOWN"], ["a", "LEFT"], ["d", "RIGHT"]];
const USUAL = {
  space: "Space", shift: "ShiftLeft", ctrl: "ControlLeft", enter: "Enter", tab: "Tab",
  up: "ArrowUp", down: "ArrowDown", left: "ArrowLeft", right: "ArrowRight",
};

function usualCode(name) {
  const plain = name.toLowerCase();
  if (/^[a-z]$/.test(plain)) return `Key${plain.toUpperCase()}`;
  return /^\d$/.test(plain) ? `Digit${plain}` : USUAL[plain.replace(/^arrow[ _]?/, "")];
}

// Keys in any set, and choices beside them: an action is a vector of zeros and ones, part after part.
export class KeySet {
  constructor({ actions, action_names: names, idle, keys: codes }) {
    Object.assign(this, { names, idle, composed: false });
    this.choices = []; // [from, to] in the vector
    const free = [];
    for (const { keys, values } of actions) {
      const from = free.length;
      if (values) this.choices.push([from, from + values.length]);
      free.push(...(keys ?? values).map(() => Boolean(keys)));
    }
    // What can be pressed: every key, and the values of a choice that the game names a key for.
    this.keys = names.filter((name, i) => free[i] || codes[name]);
    this.codes = Object.fromEntries(this.keys.map((key) => [key, codes[key] ?? usualCode(key)]));
    for (const [key, code] of Object.entries(INSTEAD)) {
      if (this.keys.includes(key) && !Object.values(this.codes).includes(code)) this.codes[key] ??= code;
    }
    // Four keys to walk with are drawn as a pad.
    this.ways = WALKING.every(([key]) => names.includes(key)) ? Object.fromEntries(WALKING) : {};
  }

  keyFor(code) {
    return this.keys.find((key) => this.codes[key] === code) ?? null;
  }

  hint(key) {
    return labelOf(this.codes[key]);
  }

  nearest(held) {
    const vector = [...this.idle];
    for (const key of held) {
      const place = this.names.indexOf(key);
      for (const [from, to] of this.choices) if (from <= place && place < to) vector.fill(0, from, to);
      vector[place] = 1;
    }
    return vector;
  }

  isIdle(action) {
    return action.every((bit, i) => bit === this.idle[i]);
  }

  keysOf(action) {
    return this.names.filter((_, i) => action[i] && !this.idle[i]);
  }
}

export const actionsOf = (info) =>
  Array.isArray(info.idle) ? new KeySet(info) : new Actions(info.action_names, info.idle, info.keys);

// An action in words.
export function inWords(action, names) {
  if (!Array.isArray(action)) return names[action];
  return action.map((bit, i) => bit && names[i]).filter((name) => name !== 0).join(" + ") || "nothing";
}
