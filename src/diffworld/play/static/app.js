// The page: joins the connection, the keys, the stage and the panel.

import { Controls } from "./controls.js";
import { Data } from "./data.js";
import { $, $$, icon, make, toast } from "./dom.js";
import { Inside } from "./inside.js";
import { Keys } from "./keys.js";
import { Link } from "./link.js";
import { Stage } from "./stage.js";

const REWIND_EVERY_MS = 60;
const SHORTCUTS = {
  KeyP: ["P", "pause and go on", () => togglePause()],
  Period: [".", "one step", () => single()],
  KeyR: ["R", "new game", () => restart()],
  Backspace: ["Backspace", "rewind while held", () => rewind(true)],
  KeyC: ["C", "record", () => toggleRecording()],
  KeyG: ["G", "agent on or off", () => toggleAgent()],
  KeyV: ["V", "dream, real game, both", () => nextWorld()],
  KeyI: ["I", "inside the model", () => openPanel($("#panel").hidden ? "inside" : null)],
  Minus: ["−", "slower", () => changePace(1 / 1.5)],
  Equal: ["+", "faster", () => changePace(1.5)],
  KeyF: ["F", "full screen", () => fullScreen()],
};

const link = new Link();
const stage = new Stage();
const keys = new Keys(act);
const controls = new Controls(link);
const inside = new Inside();
const data = new Data(link);
let state = null;
let rewinding = 0;
let rewound = false;
let wasPaused = false;
let hiddenWhilePlaying = false;

link.on("welcome", ({ info }) => {
  cover(null);
  const game = info.env.split("/").at(-1) || info.title;
  $("#title").textContent = game;
  $("#title").title = info.title;
  document.title = `${game} · diffworld`;
  keys.build(info);
  for (const part of [controls, inside, data]) part.meet(info);
  showShortcuts();
  if (openTab()) openPanel(openTab());
});

link.on("state", (message) => {
  const before = state;
  state = message;
  controls.show(state);
  document.body.dataset.player = state.settings.player;
  document.body.dataset.world = state.settings.world;
  document.body.classList.toggle("paused", state.paused);
  document.body.classList.toggle("recording", state.recording);
  icon($("#pause"), state.paused ? "play" : "pause", state.paused ? "Go on" : "Pause");
  $("#record").setAttribute("aria-pressed", state.recording);
  $("#badge").hidden = !state.recording && !state.paused;
  $("#badge").textContent = state.recording ? "recording" : "paused";
  if (before?.recording && !state.recording) recorded();
  if (!before && state.settings.player === "agent") invite();
  else if (before && before.settings.player !== state.settings.player) uninvite();
});

link.on("view", (view, images) => {
  stage.show(view, images);
  keys.took(view.action);
  inside.show(view, images, openTab() === "inside");
  $("#rewind").disabled = !view.kept && !rewinding;
  rewound = true;
});

link.on("error", ({ text }) => toast(text, "bad"));
link.on("waiting", ({ place, players }) => {
  const ahead = place === 1 ? "You are next." : `You are number ${place} in line.`;
  cover(`${players === 1 ? "Someone is" : `All ${players} places are`} playing. ${ahead}`);
});
link.on("lost", ({ reason }) => {
  rewind(false);
  state = null;
  cover(reason || "The connection is lost. Trying again…");
});

// Playing

function act(action) {
  if (!state) return;
  link.send({ type: "act", action });
  if (keys.actions.isIdle(action) || state.settings.player === "human") return;
  link.send({ type: "set", player: "human" });
  state.settings.player = "human"; // the server's answer is on its way; ask only once
  stage.say("You took over", "note");
  setTimeout(uninvite, 1600);
}

function invite() {
  const touch = matchMedia("(pointer: coarse)").matches;
  stage.say(`The agent is playing. ${touch ? "Touch a key" : "Press a game key"} to take over.`, "note");
  setTimeout(uninvite, 6000);
}

function uninvite() {
  if ($("#banner").matches(".shown[data-kind=note]")) stage.say("");
}

function togglePause() {
  link.send({ type: "pause", on: !state.paused });
}

function single() {
  if (!state.paused) link.send({ type: "pause", on: true });
  link.send({ type: "step" });
}

function restart() {
  link.send({ type: "reset" });
}

// Held, the game runs backwards, a step for each frame that arrives; let go, and it goes on from there.
function rewind(on) {
  if (on === Boolean(rewinding) || (on && !state)) return;
  if (on) {
    wasPaused = state.paused;
    link.send({ type: "pause", on: true });
    rewound = true;
    rewinding = setInterval(() => {
      if (rewound) link.send({ type: "rewind", steps: 1 });
      rewound = false;
    }, REWIND_EVERY_MS);
  } else {
    clearInterval(rewinding);
    rewinding = 0;
    link.send({ type: "pause", on: wasPaused });
  }
  document.body.classList.toggle("rewinding", on);
}

function toggleRecording() {
  link.send({ type: "record", on: !state.recording });
}

function recorded() {
  toast("The recording is kept; it is under Data.");
  if (openTab() === "data") data.list().catch((error) => toast(error.message, "bad"));
}

function toggleAgent() {
  pick("player", state.settings.player === "agent" ? "human" : "agent");
}

function nextWorld() {
  const open = $$("input[name=world]").filter((input) => !input.disabled).map((input) => input.value);
  pick("world", open[(open.indexOf(state.settings.world) + 1) % open.length]);
}

function pick(name, value) {
  const input = $(`input[name=${name}][value=${value}]`);
  if (input.disabled) return toast(input.parentElement.title, "bad");
  link.send({ type: "set", [name]: value });
}

function changePace(factor) {
  const fps = Math.round(factor > 1 ? Math.max(state.fps + 1, state.fps * factor) : Math.min(state.fps - 1, state.fps * factor));
  link.send({ type: "pace", fps: Math.max(1, Math.min(60, fps)) });
}

function fullScreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else document.documentElement.requestFullscreen?.();
}

// Panel

function openTab() {
  return $("#panel").hidden ? null : $("[role=tab][aria-selected=true]").getAttribute("aria-controls");
}

function openPanel(name) {
  $("#panel").hidden = !name;
  document.body.classList.toggle("with-panel", Boolean(name));
  $("#panel-button").setAttribute("aria-expanded", Boolean(name));
  for (const tab of $$("[role=tab]")) {
    const chosen = name ? tab.getAttribute("aria-controls") === name : tab.getAttribute("aria-selected") === "true";
    tab.setAttribute("aria-selected", chosen);
    tab.tabIndex = chosen ? 0 : -1;
    document.getElementById(tab.getAttribute("aria-controls")).hidden = !chosen;
  }
  link.send({ type: "set", inside: name === "inside" });
  if (name === "data") data.list().catch((error) => toast(error.message, "bad"));
  else data.stop();
}

function moveTab(event) {
  const tabs = $$("[role=tab]");
  const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!by) return;
  const next = tabs[(tabs.indexOf(event.target) + by + tabs.length) % tabs.length];
  next.focus();
  openPanel(next.getAttribute("aria-controls"));
}

// Covers and dialogs

function cover(text) {
  $("#cover").hidden = text === null;
  if (text !== null) $("#cover-text").textContent = text;
}

function showShortcuts() {
  const row = (key, what) => make("div", {}, make("kbd", { textContent: key }), make("span", { textContent: what }));
  const game = keys.actions.composed
    ? [row("arrows, WASD", "move"), ...(keys.actions.keys.includes("FIRE") ? [row("space", "fire")] : [])]
    : keys.actions.keys.map((key, i) => [keys.actions.hint(key, i), key]).filter(([hint]) => hint).map(([hint, key]) => row(hint, key));
  $("#help-keys").replaceChildren(...game, ...Object.values(SHORTCUTS).map(([key, what]) => row(key, what)), row("?", "this help"));
}

// Input

// Whether the focused element needs this key for itself.
function isTyping(event) {
  const focus = document.activeElement;
  if ($("dialog[open]")) return true;
  if (focus.matches("input[type=number]")) return true;
  if (focus.matches("input, [role=tab]")) return /^(Arrow|Space|Enter|Home|End|Page)/.test(event.code);
  return focus.matches("button") && /^(Space|Enter)/.test(event.code);
}

addEventListener("keydown", (event) => {
  const control = event.ctrlKey && !keys.actions?.keyFor("ControlLeft"); // where it is no key of the game
  if (control || event.metaKey || event.altKey || isTyping(event)) return;
  if (event.key === "?") return $("#help").showModal();
  if (event.key === "Escape") return openPanel(null);
  if (!state) return;
  if (!keys.keyDown(event)) {
    const shortcut = SHORTCUTS[event.code];
    if (!shortcut) return;
    if (!event.repeat || event.code === "Period") shortcut[2]();
  }
  event.preventDefault();
});

addEventListener("keyup", (event) => {
  keys.keyUp(event);
  if (event.code === "Backspace") rewind(false);
});

// A click must not leave the focus behind, or the space bar would click again instead of firing.
addEventListener("click", (event) => {
  if (event.target.closest("[data-close]") || event.target.matches("dialog")) event.target.closest("dialog").close();
  if (!event.detail) return; // pressed from the keyboard
  setTimeout(() => document.activeElement.matches("button, input:not([type=number])") && document.activeElement.blur());
});

document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    hiddenWhilePlaying = Boolean(state) && !state.paused;
    if (hiddenWhilePlaying) link.send({ type: "pause", on: true });
  } else if (hiddenWhilePlaying) {
    link.send({ type: "pause", on: false });
  }
});

$("#pause").addEventListener("click", () => state && togglePause());
$("#single").addEventListener("click", () => state && single());
$("#restart").addEventListener("click", () => state && restart());
$("#record").addEventListener("click", () => state && toggleRecording());
$("#full").addEventListener("click", fullScreen);
$("#help-button").addEventListener("click", () => $("#help").showModal());
$("#panel-button").addEventListener("click", () => openPanel($("#panel").hidden ? $("[role=tab][aria-selected=true]").getAttribute("aria-controls") : null));
$("#panel-close").addEventListener("click", () => openPanel(null));
for (const tab of $$("[role=tab]")) {
  tab.addEventListener("click", () => openPanel(tab.getAttribute("aria-controls")));
  tab.addEventListener("keydown", moveTab);
}
$("#rewind").addEventListener("pointerdown", (event) => {
  event.target.closest("button").setPointerCapture(event.pointerId);
  rewind(true);
});
for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) $("#rewind").addEventListener(end, () => rewind(false));
$("#rewind").addEventListener("keydown", (event) => /Space|Enter/.test(event.code) && rewind(true));
$("#rewind").addEventListener("keyup", () => rewind(false));
$("#rewind").addEventListener("contextmenu", (event) => event.preventDefault());
addEventListener("blur", () => rewind(false));
