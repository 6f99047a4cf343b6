"""A play session: one player, one or two worlds, no screen. A page, a window or a test is a face on it."""

import dataclasses
import itertools
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from diffworld.envs.driver import GameStep
from diffworld.envs.seeds import test_seed
from diffworld.models.diffusion import frames_from_bytes
from diffworld.play.dreaming import stopwatch
from diffworld.play.library import Library
from diffworld.play.players import PolicyOutput, burned_in, choose_action, opinion
from diffworld.play.recording import Recorder
from diffworld.play.settings import RANGES, Settings, missing_players, missing_worlds
from diffworld.play.view import View, make_view
from diffworld.play.worlds import DreamWorld, Game, GameState, RealWorld, StepKey, Tape, WorldStep
from diffworld.runs.loading import Model
from diffworld.runtime.errors import UserError
from diffworld.world.imagination import ImaginationState

__all__ = ["PlaySession", "Settings", "View"]

REWIND_STEPS = 150
"""Steps that can be taken back: ten seconds at 15 frames a second."""


@dataclass(frozen=True, eq=False)
class Position:
    """Where everything stands after a step. Going on from an older one is all there is to rewinding."""

    moment: StepKey
    """Random numbers of the step that comes next."""
    key: int
    """Tells the session's episodes apart."""
    view: View
    dream: ImaginationState | None
    game: GameState | None
    thinks: PolicyOutput | None


class PlaySession:
    """One player's game. Cheap: it shares the model's networks and holds only where it stands.

    Calls are synchronous and come from one thread at a time. Every one may raise UserError, after which the
    session stands where it stood. With the same seed, settings and actions it shows the same frames; beside other
    players, the same but for rounding (see `Dreamer`).
    """

    def __init__(
        self,
        model: Model,
        settings: Settings | None = None,
        recordings: Path | None = None,
        library: Library | None = None,
    ) -> None:
        """`recordings` is the folder to record to (None: recording is off); `library` has what can be replayed."""
        if settings is None:
            settings = Settings(world="dream" if model.has_dream else "real")
        self.model, self.settings = model, settings.resolved(model)
        self._recordings, self._library = recordings, library
        self._dream = DreamWorld(model)
        self._real: RealWorld | None = None
        self._tape: Tape | None = None
        self._past: deque[Position] = deque(maxlen=REWIND_STEPS + 1)
        self._keys = itertools.count()
        self._recorders: dict[str, Recorder] | None = None

    def info(self) -> dict[str, Any]:
        """What the session can do, in JSON's types: worlds and players with the reason why not, ranges, names."""
        model = self.model
        return {
            "title": model.title,
            "env": model.config.env,
            "action_names": list(model.action_names),
            "frame_size": list(model.frame_size),
            "worlds": missing_worlds(model),
            "players": missing_players(model),
            "ranges": {name: list(limits) for name, limits in RANGES.items()},
            "has_policy": model.has_policy,
            "has_dream": model.has_dream,
            "context_frames": model.config.denoiser.context_frames,
            "num_starts": model.starts.loaded,
            "starts_in": ["dream"],
            "rewind_steps": REWIND_STEPS,
            "recording_possible": None if self._recordings else "recording is off: start with a folder for recordings",
        }

    def configure(self, **changes: Any) -> View:
        """Change settings and return the current view; another world, or leaving a recording, resets.

        From the real game to both, nothing is reset: the dream begins where the real game stands.
        """
        old, new = self.settings, self.settings.changed(changes, self.model)
        if new.player == "recording" and self._tape is None:
            raise UserError("no recording was chosen: play an episode of the library")
        now, self.settings = self._past[-1] if self._past else None, new
        tape = old.player == "recording", new.player == "recording"
        joins = (old.world, new.world) == ("real", "both") and tape[0] == tape[1]
        try:
            if joins and now is not None and now.game is not None and not now.game.over:
                return self._begin(now.game)
            if now is None or old.world != new.world or (tape[0] != tape[1] and (tape[1] or new.world != "dream")):
                return self.reset()
        except BaseException:
            self.settings = old
            raise
        return self._show()

    def reset(self, start: int | None = None) -> View:
        """Begin a new episode: a new real game, or a dream from the start of that number, or from one drawn.

        UserError for a chosen start in the real game: a replay does not hold what a real game is restored from.
        """
        if start is not None and (self.settings.world != "dream" or self.settings.player == "recording"):
            raise UserError("a start of the replay can only be dreamt: choose the dream as world, and another player")
        return self._begin(None, start)

    def step(self, action: int = 0) -> View:
        """One step, with `action` where a human plays. After an end it begins the next episode instead."""
        if not self._past:
            return self.reset()
        now = self._past[-1]
        game = now.game if self._uses_game else None
        if now.view.ended or now.view.truncated:
            return self._begin(game if game is not None and not game.over else None)
        taken = choose_action(
            self.settings.player,
            self.model.num_actions,
            self._dream.chance.at(now.moment, "action"),
            pressed=action,
            recorded=self._tape.action(game) if self._plays_tape and self._tape and game else None,
            thinks=now.thinks,
            temperature=self.settings.temperature,
        )
        return self._advance(now, game, taken)

    def rewind(self, steps: int) -> View:
        """Go back, as far as is kept; what is played from there on replaces what was."""
        taken_back = 0
        for _ in range(min(max(0, steps), len(self._past) - 1)):
            taken_back += self._past.pop().view.action is not None
        for recorder in (self._recorders or {}).values():
            recorder.take_back(taken_back)
        return self._show() if self._past else self.reset()

    def start_list(self, offset: int = 0, count: int = 24) -> list[dict[str, Any]]:
        """Starts to choose from: id, episode, step, frame (H, W, 3), and the worlds that can begin there."""
        windows = self.model.starts.windows()
        return [
            {"id": i, "episode": w.episode, "step": w.step, "frame": w.frames[-1], "worlds": ["dream"]}
            for i, w in list(enumerate(windows))[max(0, offset) : offset + count]
        ]

    @property
    def recording(self) -> bool:
        """Whether what is played is recorded."""
        return self._recorders is not None

    def record(self, on: bool) -> list[Path]:
        """Begin or end recording; ending returns the data sets written, one for each world shown."""
        if on == self.recording:
            return []
        if on:
            if self._recordings is None:
                raise UserError("recording is off: start with a folder for recordings")
            self._recorders = {}
            return []
        recorders, self._recorders = self._recorders or {}, None
        for recorder in recorders.values():
            recorder.close()
        return [recorder.path for recorder in recorders.values() if recorder.path]

    def play_recording(self, dataset_id: str, episode: int) -> View:
        """Play the actions of a recorded episode: its own frames are the real side, the dream goes beside it."""
        if self._library is None:
            raise UserError("there is no library to take a recording from: start with a run or recordings")
        tape = self._library.tape(dataset_id, episode, self.model.config.denoiser.context_frames)
        if tape.frames.shape[1:3] != self.model.frame_size:
            raise UserError("its frames are of another size than this model's: choose a recording of the same game")
        if max(tape.actions, default=0) >= self.model.num_actions:
            raise UserError("it has actions that this model does not know: choose a recording of the same game")
        if len(tape.frames) < 2:
            raise UserError("this episode has no step that led anywhere: choose a longer one")
        self._tape, self.settings = tape, dataclasses.replace(self.settings, player="recording")
        return self.reset()

    def close(self) -> None:
        """Write what was recorded and free the emulator."""
        self.record(False)
        if self._real is not None:
            self._real.close()
            self._real = None

    @property
    def _plays_tape(self) -> bool:
        return self.settings.player == "recording" and self._tape is not None

    @property
    def _uses_game(self) -> bool:
        """Whether a game goes on beside the dream, if only a recording's for its actions."""
        return self.settings.world != "dream" or self._plays_tape

    def _game(self) -> Game:
        if self._plays_tape and self._tape is not None:
            return self._tape
        if self._real is None:
            self._real = RealWorld(self.model.config)
        return self._real

    def _next_moment(self) -> StepKey:
        seed = self.settings.seed
        if self._past and self._past[-1].moment.seed == seed:
            return StepKey(seed, self._past[-1].moment.episode + 1, 0)
        return StepKey(seed, 0, 0)

    def _begin(self, game: GameState | None, start: int | None = None) -> View:
        """Begin an episode where `game` stands, or in a new game, or in a dream of its own."""
        moment, starts = self._next_moment(), self.model.starts
        if self._uses_game:
            game = game or self._game().start(test_seed(moment.seed, moment.episode))
            window = game.window(self.model.config.denoiser.context_frames)
        else:
            window = starts.draw(moment.seed, moment.episode) if start is None else starts[start]
        dream = self._dream.start(window) if self.settings.world != "real" else None
        return self._stand(moment, next(self._keys), dream, game, None, None, {})

    def _advance(self, now: Position, game: GameState | None, action: int) -> View:
        """Take the action in every world, see what came of it, and record it."""
        settings, dream = self.settings, now.dream
        happened: dict[str, WorldStep] = {}
        if dream is not None:
            sampler = settings.sampler(self.model)
            memory = now.thinks.state if now.thinks is not None else None
            dream, happened["dream"] = self._dream.step(dream, action, sampler, settings.horizon, now.moment, memory)
        if game is not None:
            game, happened["real"] = self._game().step(game, action, settings.rules)
        moment = dataclasses.replace(now.moment, step=now.moment.step + 1)
        view = self._stand(moment, now.key, dream, game, action, now, happened)
        for world, step in happened.items():
            before, after = getattr(now.view, world), getattr(view, world)
            if after is not None:
                self._record(world, GameStep(now.key, before, action, step.reward, step.ended, step.truncated, after))
        return view

    def _stand(
        self,
        moment: StepKey,
        key: int,
        dream: ImaginationState | None,
        game: GameState | None,
        action: int | None,
        before: Position | None,
        happened: dict[str, WorldStep],
    ) -> View:
        """Take a new position: what the agent thinks there, and what is seen."""
        milliseconds: dict[str, float] = {}
        for step in happened.values():
            milliseconds |= step.milliseconds
        thinks = happened["dream"].thinks if "dream" in happened else None
        if self.model.has_policy and thinks is None:
            with stopwatch(milliseconds, "policy"):
                thinks = self._think(dream, game, before)
        seen = before.view if before else None
        view = make_view(self.settings, seen, action, happened, dream, game, thinks, milliseconds)
        self._past.append(Position(moment, key, view, dream, game, thinks))
        return self._show()

    def _think(self, dream: ImaginationState | None, game: GameState | None, before: Position | None) -> PolicyOutput:
        """The agent looks at the leading world's frame; at a start, after the context a dream begins with."""
        actor_critic = self.model.networks.actor_critic
        if dream is not None:
            frame = dream.frames[:, -1]
        else:
            assert game is not None
            frame = frames_from_bytes(torch.from_numpy(game.frames[-1]).to(self.model.device))[None]
        if before is not None and before.thinks is not None:
            state = before.thinks.state
        elif dream is not None:
            state = burned_in(actor_critic, dream.frames)
        else:
            state = actor_critic.zero_state(1)
        with torch.inference_mode():
            return opinion(*self.model.dreamer.act(frame, state))

    def _record(self, world: str, step: GameStep) -> None:
        if self._recorders is None or self._recordings is None:
            return
        if world not in self._recorders:
            model = self.model
            names = {"env": model.config.env, "action_names": list(model.action_names)}
            info = {**names, "world": world, "model": model.title}
            self._recorders[world] = Recorder(self._recordings, world, REWIND_STEPS, model.num_actions, info)
        self._recorders[world].add(step)

    def _show(self) -> View:
        return dataclasses.replace(self._past[-1].view, kept=len(self._past) - 1)
