"""What a player sees after each step, and how it is told to the page."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffworld.game import Encoded
from diffworld.play.drawing import DreamStep
from diffworld.play.players import Player, PolicyOutput
from diffworld.play.settings import Settings
from diffworld.play.worlds import GameState, WorldStep
from diffworld.runtime.frames import Film, Frame, to_numpy
from diffworld.world import DreamState

Pictures = dict[str, Frame | None]
"""Frames by name; those that are None are not shown."""
DIFFERENCE_GAIN = 4
"""How much stronger than it is the difference of two frames is shown: drift is a few levels of 255."""


PICTURES = (
    "dream",
    "real",
    "difference",
    "small",
    "context",
    "trajectory",
    "small_context",
    "small_trajectory",
)
"""What of a view is shown, not told."""


@dataclass(frozen=True, eq=False)
class View:
    """What is seen after a step, a reset or a rewind. The page gets all of it (see `describe`)."""

    step: int
    """Steps since the episode began."""
    score: float
    """Sum of rewards: in a dream their predicted signs, in the real game raw."""
    real_score: float | None
    """The real game's, where it is shown."""
    dream: Frame | None
    real: Frame | None
    """The real game's frame, or the recording's."""
    difference: Frame | None
    """Real minus dream, where both are shown: `DIFFERENCE_GAIN` times as strong, on mid-grey (128), clipped."""
    context: Film | None
    """(n, H, W, 3) in a view of the inside: the frames that the dream's was drawn from, oldest first, padding mid-grey;
    at a start, those that the next one will be drawn from."""
    trajectory: Film | None
    """(N + 1, H, W, 3) from noise to the dream's frame, in a view of the inside; None at a start."""
    small: Frame | None
    """The small frame of the dream's, in a world of two stages; there the next two are as those above, of the small."""
    small_context: Film | None
    small_trajectory: Film | None
    action: Encoded | None
    """What led here; None at a start."""
    player: Player
    reward: float
    """Of the leading world: the dream where it is shown."""
    real_reward: float | None
    ended: bool
    """Either world shown has ended; the next step begins another episode."""
    truncated: bool
    """Either was cut."""
    why: str
    """Why it is over, in words; empty while it goes on."""
    reward_probs: NDArray[np.float32] | None
    """(3,) predicted probabilities of reward sign -1, 0, +1, where the model knows of rewards."""
    end_prob: float | None
    """Predicted probability that the step ended the episode, where the model knows of ends."""
    policy: NDArray[np.float32] | None
    """(A,) the agent's probabilities on this frame, at temperature 1, whoever plays."""
    value: float | None
    """The agent's estimate of its discounted future reward signs."""
    entropy: float | None
    """Of the policy, in nats."""
    milliseconds: dict[str, float]
    """How long each part took: denoiser, upsampler, reward_end, policy, real."""
    kept: int = 0
    """Steps one can rewind."""


def make_view(
    settings: Settings,
    before: View | None,
    action: Encoded | None,
    dream: DreamState | None,
    dreamt: DreamStep | None,
    game: GameState | None,
    played: WorldStep | None,
    thinks: PolicyOutput | None,
    milliseconds: dict[str, float],
) -> View:
    """What is seen where dream and game stand now, after what they did (`dreamt`, `played`; None at a start)."""
    shown = game if settings.world != "dream" else None
    # A recording that is only listened to, for its actions, still ends the episode when there are no more.
    counts = played if shown is not None or (game is not None and game.over) else None
    steps = [step for step in (dreamt, counts) if step is not None]
    leading = dreamt or played
    reward = leading.reward if leading else 0.0
    dream_frame = dreamt.frame if dreamt else None if dream is None else to_numpy(dream.frame[0])
    real_frame = None if shown is None else shown.frames[-1]
    difference = None
    if dream_frame is not None and real_frame is not None:
        difference = real_minus_dream(dream_frame, real_frame)
    context = dreamt.context if dreamt else dream.context[0] if dream else None
    return View(
        step=before.step + 1 if before else 0,
        score=shown.score if shown is not None and dream is None else reward + (before.score if before else 0.0),
        real_score=None if shown is None else shown.score,
        dream=dream_frame,
        real=real_frame,
        difference=difference,
        context=to_numpy(context) if settings.inside and context is not None else None,
        trajectory=to_numpy(dreamt.trajectory) if settings.inside and dreamt else None,
        **_small(settings, dream, dreamt),
        action=action,
        player=settings.player,
        reward=reward,
        real_reward=played.reward if played and shown is not None else None,
        ended=any(step.ended for step in steps),
        truncated=any(step.truncated for step in steps),
        why="; ".join(step.why for step in steps if step.why),
        reward_probs=dreamt.reward_probs if dreamt else None,
        end_prob=dreamt.end_prob if dreamt else None,
        policy=thinks.probs if thinks else None,
        value=thinks.value if thinks else None,
        entropy=thinks.entropy if thinks else None,
        milliseconds=milliseconds,
    )


def _small(settings: Settings, dream: DreamState | None, dreamt: DreamStep | None) -> dict[str, Any]:
    """What is seen of the first stage of two."""
    frame, context, trajectory = None, None, None
    if dreamt is not None:
        frame, context, trajectory = dreamt.small, dreamt.small_context, dreamt.small_trajectory
    elif dream is not None and dream.small is not None:
        frame, context = to_numpy(dream.small.frame[0]), dream.small.context[0]
    return {
        "small": frame,
        "small_context": to_numpy(context) if settings.inside and context is not None else None,
        "small_trajectory": to_numpy(trajectory) if settings.inside and trajectory is not None else None,
    }


def real_minus_dream(dream: Frame, real: Frame) -> Frame:
    """Where and how two frames differ, to look at: see `View.difference`."""
    apart = real.astype(np.int16) - dream
    return np.clip(128 + DIFFERENCE_GAIN * apart, 0, 255).astype(np.uint8)


def describe(view: View) -> tuple[dict[str, Any], Pictures]:
    """A view's numbers, in JSON's types, and its pictures; those of a film side by side, the first on the left."""
    told = {**vars(view)}
    pictures: Pictures = {}
    for name in PICTURES:
        frames = told.pop(name)
        pictures[name] = frames if frames is None or frames.ndim == 3 else np.concatenate(list(frames), axis=1)
    return plain(told), pictures


def plain(value: Any) -> Any:
    """In JSON's types, which have no infinities: a network that was trained into the ground may."""
    match value:
        case dict():
            return {key: plain(each) for key, each in value.items()}
        case np.ndarray():
            return [plain(each) for each in value.tolist()]
        case float():
            return round(value, 5) if math.isfinite(value) else None
    return value
