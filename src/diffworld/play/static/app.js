// The page: joins the connection, the keys, the stage and the panel.

import { Card } from "./card.js";
import { Controls } from "./controls.js";
import { Data } from "./data.js";
import { $, $$, make, toast, trying } from "./dom.js";
import { Gamepads } from "./gamepad.js";
import { Inside } from "./inside.js";
import { Keymap } from "./keymap.js";
import { Keys } from "./keys.js";
import { Link } from "./link.js";
import { Mouse } from "./mouse.js";
import { Panel } from "./panel.js";
import { Stage } from "./stage.js";
import { Transport } from "./transport.js";

const SHORTCUTS = {
  KeyP: ["P", "pause and go on", () => transport.pause()],
  Period: [".", "one step", () => transport.step()],
  KeyR: ["R", "new game", () => transport.restart()],
  Backspace: ["Backspace", "rewind while held", () => transport.rewind(true)],
  KeyC: ["C", "record", () => transport.record()],
  KeyG: ["G", "agent on or off", () => toggleAgent()],
  KeyV: ["V", "dream, real game, both", () => nextWorld()],
  KeyI: ["I", "inside the model", () => panel.toggle("inside")],
  Minus: ["−", "slower", () => transport.faster(1 / 1.5)],
  Equal: ["+", "faster", () => transport.faster(1.5)],
  KeyF: ["F", "full screen", () => fullScreen()],
};
const whilePlaying = (deed) => () => state && deed();
const BUTTONS = {
  4: [whilePlaying(() => transport.rewind(true)), () => transport.rewind(false)],
  5: [whilePlaying(() => transport.step())],
  8: [whilePlaying(() => transport.restart())],
  9: [whilePlaying(() => transport.pause())],
};

let state = null;
// Where nobody played meanwhile, the dream begins anew: its first moments would have gone by unseen.
const card = new Card(() => state?.settings.player === "human" && transport.restart());
const link = new Link();
const stage = new Stage();
const keys = new Keys(act);
const keymap = new Keymap((info) => {
  keys.build(info);
  showShortcuts();
});
const mouse = new Mouse(keys, look);
const controls = new Controls(link);
const inside = new Inside();
const data = new Data(link);
const transport = new Transport(link);
const panel = new Panel((tab) => {
  link.send({ type: "set", inside: tab === "inside" });
  if (tab === "data") listData();
  else data.stop();
});
const listData = trying(() => data.list());
new Gamepads(keys, BUTTONS);

link.on("welcome", ({ info }) => {
  const game = info.env.split("/").at(-1) || info.title;
  $("#title").textContent = game;
  $("#title").title = info.title;
  document.title = `${game} · diffworld`;
  offer(info);
  $("#command").textContent = info.command;
  $("#help-dream").hidden = Boolean(info.worlds.dream);
  $("#help-title").textContent = info.worlds.dream ? "You are playing the game itself" : "You are playing a neural network";
  for (const part of [keymap, card, stage, controls, inside, data, mouse]) part.meet(info);
  document.body.dataset.stages = info.stages;
  if (panel.tab) panel.open(panel.tab);
});

link.on("state", (message) => {
  const before = state;
  state = message;
  for (const part of [controls, transport, stage]) part.show(state);
  document.body.dataset.player = state.settings.player;
  document.body.dataset.world = state.settings.world;
  document.body.dataset.stands = state.step; // its picture may still be on its way
  document.body.classList.toggle("paused", state.paused);
  document.body.classList.toggle("recording", state.recording);
  $("#badge").hidden = !state.recording && !state.paused;
  $("#badge").textContent = state.recording ? "recording" : "paused";
  if (before?.recording && !state.recording) recorded();
  if (!before && state.settings.player === "agent" && !card.shown) invite();
  else if (before && before.settings.player !== state.settings.player) uninvite();
});

link.on("view", (view, images) => {
  cover(null);
  document.body.classList.add("playing");
  stage.frame(view, images);
  keys.took(view.action);
  inside.show(view, images, panel.tab === "inside");
  transport.frame(view.kept);
});

link.on("error", ({ text }) => toast(text, "bad"));
link.on("waiting", ({ place, players }) => {
  const ahead = place === 1 ? "You are next." : `You are number ${place} in line.`;
  cover(`${players === 1 ? "Someone is" : `All ${players} places are`} playing. ${ahead}`);
});
link.on("lost", ({ reason, gone }) => {
  transport.lose();
  state = null;
  document.body.classList.remove("playing");
  cover(reason || (gone ? "The server has gone. Trying again…" : "The connection is lost. Trying again…"), gone);
});

// The models there are, where there are several: another one is another page.
function offer({ model, models }) {
  const select = $("#models select");
  $("#models").hidden = models.length < 2;
  $("#title").hidden = models.length > 1;
  select.replaceChildren(...models.map((name) => new Option(name, name, false, name === model)));
  select.onchange = () => (location.search = `?model=${encodeURIComponent(select.value)}`);
}

// Playing

function act(action) {
  if (!state) return;
  link.send({ type: "act", action });
  if (!keys.actions.isIdle(action)) takeOver();
}

function look(right, down) {
  if (!state) return;
  takeOver();
  link.send({ type: "look", right, down });
}

function takeOver() {
  if (state.settings.player === "human") return;
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

// Whoever plays should not wonder why no key does anything.
addEventListener("blur", () => state && stage.say("The keys go to another window. Click here to play.", "away"));
addEventListener("focus", () => $("#banner").matches("[data-kind=away]") && stage.say(""));

function uninvite() {
  if ($("#banner").matches(".shown[data-kind=note]")) stage.say("");
}

function recorded() {
  toast("The recording is kept; it is under Data.");
  if (panel.tab === "data") listData();
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

function fullScreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else document.documentElement.requestFullscreen?.();
}

// Covers and help

function cover(text, gone = false) {
  $("#cover").hidden = text === null;
  $("#gone").hidden = !gone;
  if (text !== null) $("#cover-text").textContent = text;
}

function showShortcuts() {
  const row = (key, what) => make("div", {}, make("kbd", { textContent: key }), make("span", { textContent: what }));
  const game = keys.actions.composed
    ? [row("arrows, WASD", "move"), ...(keys.actions.keys.includes("FIRE") ? [row("space", "fire")] : [])]
    : [...(document.body.hasAttribute("data-mouse") ? [["mouse", "aim; click the picture first"]] : []),
      ...keys.actions.keys.map((key, i) => [keys.actions.hint(key, i), key])].filter(([hint]) => hint).map(([hint, key]) => row(hint, key));
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
  if (event.key === "Escape") return panel.open(null);
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
  if (event.code === "Backspace") transport.rewind(false);
});

// A click must not leave the focus behind, or the space bar would click again instead of firing.
addEventListener("click", (event) => {
  if (event.target.closest("[data-close]") || event.target.matches("dialog")) event.target.closest("dialog").close();
  if (!event.detail || $("dialog[open]")) return; // pressed from the keyboard, or the focus has a place to be
  setTimeout(() => document.activeElement.matches("button, input:not([type=number], [type=text])") && document.activeElement.blur());
});

$("#full").hidden = !document.fullscreenEnabled;
$("#full").addEventListener("click", fullScreen);
$("#help-button").addEventListener("click", () => $("#help").showModal());
