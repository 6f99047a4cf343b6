// Gamepads: the stick and the cross are the direction keys, the buttons under the right thumb the others.

const DIRECTIONS = { UP: /^(up|w|north)$/i, DOWN: /^(down|s|south)$/i, LEFT: /^(left|a|west)$/i, RIGHT: /^(right|d|east)$/i };
const CROSS = { 12: "UP", 13: "DOWN", 14: "LEFT", 15: "RIGHT" }; // buttons of the standard layout
const THUMB = [0, 1, 2, 3];
const DEAD = 0.5; // how far a stick may lean before it counts

export class Gamepads {
  // `deeds`: what buttons do besides, by their number in the standard layout: [on press, on release].
  constructor(keys, deeds) {
    Object.assign(this, { keys, deeds });
    this.down = new Set();
    this.looking = false;
    addEventListener("gamepadconnected", () => this.look());
    if (this.pads.length) this.look();
  }

  get pads() {
    return (navigator.getGamepads?.() ?? []).filter((pad) => pad?.connected);
  }

  // Gamepads send no events; one looks at them before each frame, while there is one.
  look() {
    if (this.looking) return;
    const again = () => {
      this.looking = this.pads.length > 0;
      this.read(this.pads);
      if (this.looking) requestAnimationFrame(again);
    };
    again();
  }

  read(pads) {
    if (!this.keys.actions) return;
    const pressed = new Set(pads.flatMap((pad) => pad.buttons.flatMap((button, i) => (button.pressed ? [i] : []))));
    const leaning = new Set(pads.flatMap(({ axes: [x = 0, y = 0] }) => [
      ...(x < -DEAD ? ["LEFT"] : x > DEAD ? ["RIGHT"] : []), ...(y < -DEAD ? ["UP"] : y > DEAD ? ["DOWN"] : []),
    ]));
    for (const [button, direction] of Object.entries(CROSS)) if (pressed.has(Number(button))) leaning.add(direction);
    this.hold(pressed, leaning);
    for (const [button, [begin, end]] of Object.entries(this.deeds)) {
      const is = pressed.has(Number(button)), was = this.down.has(Number(button));
      if (is && !was) begin();
      if (was && !is) end?.();
    }
    this.down = pressed;
  }

  hold(pressed, leaning) {
    const names = this.keys.actions.keys;
    const found = Object.fromEntries(Object.entries(DIRECTIONS).map(([way, like]) => [way, names.find((name) => like.test(name))]));
    for (const way of Object.keys(DIRECTIONS)) this.keys.hold(`gamepad-${way}`, leaning.has(way) ? found[way] : null);
    const others = names.filter((name) => !Object.values(found).includes(name));
    THUMB.forEach((button, i) => this.keys.hold(`gamepad-${button}`, pressed.has(button) ? others[i % others.length] : null));
  }
}
