"""A play session: one player, one or two worlds, no screen. A page, a window or a test is a face on it."""

import dataclasses
import itertools
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from diffworld.data import GameStep
from diffworld.envs.seeds import test_seed
from diffworld.game import Encoded, GameSpec
from diffworld.play.drawing import Dreamer, DreamRequest, DreamStep, Stopwatch
from diffworld.play.library import Library
from diffworld.play.players import PolicyOutput, choose_action
from diffworld.play.recording import Source, Take
from diffworld.play.settings import OF_THE_PANEL, RANGES, Settings, WorldName, default_fps, missing
from diffworld.play.view import DIFFERENCE_GAIN, View, make_view, plain
from diffworld.play.worlds import GameState, RealGame, Tape, WorldStep
from diffworld.runs import Model, Window
from diffworld.runtime.errors import UserError
from diffworld.runtime.files import check_writable
from diffworld.runtime.frames import Frame, frames_from_bytes
from diffworld.world import DreamState, KeyedGenerators, StepKey

REWIND_STEPS = 150
"""Steps that can be taken back: ten seconds at 15 frames a second."""


@dataclass(frozen=True, eq=False)
class Position:
    """Where everything stands after a step. Going on from an older one is all there is to rewinding."""

    world: WorldName
    tape: Tape | None
    """The recording that plays there, of which `game` is then a state; else `game` is one of the real game."""
    key: StepKey
    """Random numbers of the step that comes next."""
    episode: int
    """Tells the session's episodes apart."""
    view: View
    dream: DreamState | None
    game: GameState | None
    thinks: PolicyOutput | None
    window: Window
    """What the episode began with."""

    @property
    def sources(self) -> dict[Source, Frame]:
        """The frames that are shown, by where they come from; the dream's first."""
        real: Source = "real" if self.tape is None else "recording"
        shown: dict[Source, Frame | None] = {"dream": self.view.dream, real: self.view.real}
        return {source: frame for source, frame in shown.items() if frame is not None}


class PlaySession:
    """One player's game. Cheap: it shares the model's networks and holds only where it stands.

    Calls are synchronous and come from one thread at a time. Every one may raise UserError, after which the
    session stands where it stood. With the same seed, settings and actions it shows the same frames; beside other
    players, the same but for rounding (see `Dreamer`).
    """

    def __init__(
        self,
        model: Model,
        recordings: Path | None = None,
        library: Library | None = None,
        dreamer: Dreamer | None = None,
        **settings: Any,
    ) -> None:
        """`recordings` is the folder to record to (None: recording is off); `library` has what can be replayed.

        `dreamer` is shared with the model's other players; a player alone needs none. `settings` are those of
        `Settings` that are not to be the model's own.
        """
        self.model, self.settings = model, Settings.of(model, **settings)
        self._recordings, self._library = recordings, library
        self._dreamer = dreamer or Dreamer(model)
        self._generators = KeyedGenerators(model.device)
        self._real: RealGame | None = None
        self._tape: Tape | None = None
        self._past: deque[Position] = deque(maxlen=REWIND_STEPS + 1)
        self._episodes = itertools.count()
        self._take: Take | None = None

    def info(self) -> dict[str, Any]:
        """What the session can do, in JSON's types: worlds and players with the reason why not, ranges, names."""
        model, spec, reasons = self.model, self.model.spec, missing(self.model)
        return {
            "title": model.title,
            "env": spec.name,
            "actions": spec.actions.to_json(),
            "action_names": list(spec.actions.names),
            "idle": plain(spec.actions.idle),
            "keys": dict(spec.keys),
            "fps": default_fps(spec),
            "worlds": reasons["world"],
            "players": reasons["player"],
            "ranges": RANGES,
            "defaults": {name: value for name, value in vars(Settings.of(model)).items() if name in OF_THE_PANEL},
            "difference_gain": DIFFERENCE_GAIN,
            "stages": len(model.world.samplers) if model.world else 0,
            "mouse": {axis: list(part.numbers) for axis, part in spec.actions.mouse.items()},
        }

    def configure(self, **changes: Any) -> View:
        """Change settings and return the current view; another world, or leaving a recording, resets.

        From the real game to both, nothing is reset: the dream begins where the real game stands. A replay begins where
        the episode began.
        """
        old, new = self.settings, self.settings.changed(changes).check(self.model)
        if new.player == "recording" and self._tape is None:
            raise UserError("no recording was chosen: play an episode of the library")
        stands = self._past[-1].game if self._past else None
        taped, tapes = old.player == "recording", new.player == "recording"
        joins = (old.world, new.world) == ("real", "both") and taped == tapes and stands is not None
        leaves = old.world != new.world or (taped != tapes and (tapes or new.world != "dream"))
        self.settings = new
        try:
            if new.player == "replay" and old.player != "replay" and self._past and not leaves:
                return self._begin(None, window=self._past[-1].window)
            return self._begin(stands) if joins else self.reset() if leaves or not self._past else self._show()
        except BaseException:
            self.settings = old
            raise

    def reset(self, start: int | None = None) -> View:
        """Begin a new episode: a new real game, or a dream from the start of that number, or from one drawn.

        UserError for a chosen start in the real game: a replay does not hold what a real game is restored from.
        """
        if start is not None and self._source() is not None:
            raise UserError("a start of the replay can only be dreamt: choose the dream as world, and another player")
        return self._begin(None, start)

    def step(self, action: Encoded | list[int] | None = None) -> View:
        """One step, with `action` (or idling) where a human plays. After an end it begins the next episode instead."""
        if not self._past:
            return self.reset()
        now, source, space, settings = self._past[-1], self._source(), self.model.spec.actions, self.settings
        game = now.game if source is not None else None
        if now.view.ended or now.view.truncated:
            return self._begin(game)
        if isinstance(source, Tape) and game is not None:
            return self._advance(now, game, source.actions[game.steps])
        pressed = space.idle if action is None else action
        if settings.player == "replay":
            if now.view.step >= len(now.window.following):
                raise UserError("nothing is known of what was done after this start: choose another, or play yourself")
            pressed = now.window.following[now.view.step]
        draws = self._generators.at(now.key, "action")
        taken = choose_action(settings.player, space, pressed, now.thinks, settings.temperature, draws)
        return self._advance(now, game, taken)

    def rewind(self, steps: int) -> View:
        """Go back, as far as is kept, into the world of that moment; what is played from there replaces what was."""
        left = [self._past.pop() for _ in range(min(steps, len(self._past) - 1))]
        if self._take is not None:
            self._take.take_back(source for each in left if each.view.action is not None for source in each.sources)
        if not self._past:
            return self.reset()
        self._return_to(self._past[-1])
        return self._show()

    @property
    def recording(self) -> bool:
        """Whether what is played is recorded."""
        return self._take is not None

    def record(self, on: bool) -> list[Path]:
        """Begin or end recording; ending returns the data sets written, one for each source of frames shown.

        UserError where there is no room to write; it may be tried again.
        """
        if on == self.recording:
            return []
        if on:
            if self._recordings is None:
                raise UserError("recording is off: start with a folder for recordings")
            check_writable(self._recordings)
            dream, spec, info = self.model.world, self.model.spec, {"model": self.model.title}
            known = dream is not None and dream.reward_end is not None
            dreamt = spec if known else dataclasses.replace(spec, rewards=False, ends=False)
            specs: dict[Source, GameSpec] = {"dream": dreamt, "real": spec, "recording": spec}
            self._take = Take(self._recordings, REWIND_STEPS, specs, info)
            return []
        paths = self._take.close() if self._take else []
        self._take = None
        return paths

    def play_recording(self, dataset_id: str, episode: int) -> View:
        """Play the actions of a recorded episode: its own frames are the real side, the dream goes beside it."""
        if self._library is None:
            raise UserError("there is no library to take a recording from: start with a run or recordings")
        tape = self._library.tape(dataset_id, episode, self.model.context_frames)
        if tape.frames.shape[1:3] != self.model.spec.frame_size:
            raise UserError("its frames are of another size than this model's: choose a recording of the same game")
        try:
            for action in tape.actions:
                self.model.spec.actions.check(action)
        except UserError:
            raise UserError("it has actions that this model does not know: choose one of the same game") from None
        if len(tape.frames) < 2:
            raise UserError("this episode has no step that led anywhere: choose a longer one")
        self._tape, self.settings = tape, dataclasses.replace(self.settings, player="recording")
        return self.reset()

    def close(self) -> None:
        """Write what was recorded and free the emulator."""
        try:
            self.record(False)
        finally:
            if self._real is not None:
                self._real.close()
                self._real = None

    def _source(self) -> RealGame | Tape | None:
        """The game that goes on beside the dream or alone, if only a recording's for its actions."""
        if self.settings.player == "recording" and self._tape is not None:
            return self._tape
        if self.settings.world == "dream":
            return None
        if self._real is None:
            self._real = RealGame(self.model.spec, self.model.context_frames)
        return self._real

    def _return_to(self, position: Position) -> None:
        """Choose the world of this position, and a player who can go on from it; all other settings stay."""
        player = self.settings.player
        if position.tape is not None and (player == "recording" or position.world != "dream"):
            self._tape, player = position.tape, "recording"  # in a dream alone, whoever took over goes on
        elif position.tape is None and player == "recording":
            player = position.view.player
        self.settings = dataclasses.replace(self.settings, world=position.world, player=player)

    def _begin(self, game: GameState | None, start: int | None = None, window: Window | None = None) -> View:
        """Begin an episode where `game` stands, or in a new game where that is over, or in a dream of its own, perhaps
        from a given window."""
        seed, starts, source = self.settings.seed, self.model.starts, self._source()
        last = self._past[-1].key if self._past else None
        key = StepKey(seed, last.episode + 1 if last is not None and last.seed == seed else 0, 0)
        if source is not None:
            if game is None or game.over:
                game = source.start(test_seed(seed, key.episode))
            window = game.window(self.model.spec.actions, self.model.context_frames)
        elif window is None:
            window = starts.draw(seed, key.episode) if start is None else starts[start]
        dream = self._dreamer.start(window) if self.settings.world != "real" else None
        return self._stand(key, next(self._episodes), dream, game, window=window)

    def _advance(self, now: Position, game: GameState | None, action: Encoded) -> View:
        """Take the action in every world, see what came of it, and record it."""
        settings, dream, source = self.settings, now.dream, self._source()
        dreamt: DreamStep | None = None
        played: WorldStep | None = None
        if dream is not None:
            samplers = settings.samplers(self.model.require_world().samplers)
            memory = now.thinks.state if now.thinks else None
            dream, dreamt = self._dreamer.step(DreamRequest(dream, action, samplers, settings.horizon, now.key, memory))
            if settings.player == "replay" and now.view.step + 1 == len(now.window.following) and not dreamt.ended:
                dreamt = dataclasses.replace(dreamt, truncated=True, why="what was done after this start ends here")
        if game is not None and source is not None:
            game, played = source.step(game, action, settings.rules)
        key = dataclasses.replace(now.key, step=now.key.step + 1)
        view = self._stand(key, now.episode, dream, game, now, action, dreamt, played)
        if self._take is not None:
            before, after = now.sources, self._past[-1].sources
            for shown, step in zip(after, filter(None, (dreamt, played)), strict=False):
                ends = step.ended, step.truncated
                self._take.add(shown, GameStep(now.episode, before[shown], action, step.reward, *ends, after[shown]))
        return view

    def _stand(
        self,
        key: StepKey,
        episode: int,
        dream: DreamState | None,
        game: GameState | None,
        before: Position | None = None,
        action: Encoded | None = None,
        dreamt: DreamStep | None = None,
        played: WorldStep | None = None,
        window: Window | None = None,
    ) -> View:
        """Take a new position: what the agent thinks there, and what is seen."""
        clock, thinks = Stopwatch(self.model.device), dreamt.thinks if dreamt else None
        for step in filter(None, (dreamt, played)):
            clock.milliseconds |= step.milliseconds
        if self.model.policy is not None and thinks is None:
            with clock("policy"):
                thinks = self._think(dream, game, before)
        seen = before.view if before else None
        view = make_view(self.settings, seen, action, dream, dreamt, game, played, thinks, clock.milliseconds)
        tape = self._tape if self.settings.player == "recording" else None
        began = window or self._past[-1].window
        self._past.append(Position(self.settings.world, tape, key, episode, view, dream, game, thinks, began))
        return self._show()

    @torch.inference_mode()
    def _think(self, dream: DreamState | None, game: GameState | None, before: Position | None) -> PolicyOutput:
        """The agent looks at the leading world's frame; at a start, after the context a dream begins with."""
        policy = self.model.require_policy()
        if dream is not None:
            frame = dream.frame
        elif game is not None:
            frame = frames_from_bytes(torch.from_numpy(game.frames[-1]).to(self.model.device))[None]
        if before is not None and before.thinks is not None:
            memory = before.thinks.state
        elif dream is not None:
            memory = policy.burn_in(dream.context[:, :-1])
        else:
            memory = policy.zero_state(1)
        return self._dreamer.think(frame, memory)[0]

    def _show(self) -> View:
        return dataclasses.replace(self._past[-1].view, kept=len(self._past) - 1)
