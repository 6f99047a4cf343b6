"""What a player sees after each step."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from diffworld.play.dreaming import Dreamt
from diffworld.play.players import PolicyOutput
from diffworld.play.settings import Settings
from diffworld.play.worlds import GameState, WorldStep
from diffworld.runtime.frames import Film, Frame, to_numpy
from diffworld.spec import Encoded
from diffworld.world import FrameStackState


@dataclass(frozen=True, eq=False)
class Inside:
    """What the model looked at and went through for the current frame."""

    context: Film
    """(n, H, W, 3) frames it was drawn from, oldest first; padding is mid-grey."""
    trajectory: Film
    """(N + 1, H, W, 3) from noise to the frame; (0, H, W, 3) at a start."""


@dataclass(frozen=True, eq=False)
class View:
    """What is seen after a step, a reset or a rewind."""

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
    """|dream - real| of each pixel and channel, where both are shown."""
    action: Encoded | None
    """What led here; None at a start."""
    player: str
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
    """How long each part took: denoiser, reward_end, policy, real."""
    inside: Inside | None
    kept: int
    """Steps one can rewind."""


def make_view(
    settings: Settings,
    before: View | None,
    action: Encoded | None,
    happened: dict[str, WorldStep],
    dream: FrameStackState | None,
    game: GameState | None,
    thinks: PolicyOutput | None,
    milliseconds: dict[str, float],
) -> View:
    """What is seen where things stand now, after `happened` (by world; nothing at a start)."""
    real_shown = game is not None and settings.world != "dream"
    # A recording that is only listened to, for its actions, still ends the episode when there are no more.
    counts = {"dream": True, "real": real_shown or (game is not None and game.over)}
    steps = [step for world, step in happened.items() if counts[world]]
    leading = happened.get("dream" if dream is not None else "real")
    dreamt = leading.dreamt if leading else None
    dream_frame = happened["dream"].frame if "dream" in happened else None
    if dream_frame is None and dream is not None:
        dream_frame = to_numpy(dream.frame[0])
    real_frame = game.frames[-1] if game is not None and real_shown else None
    real_score = game.score if game is not None and real_shown else None
    reward = leading.reward if leading else 0.0
    dreamt_score = (before.score if before else 0.0) + reward
    return View(
        step=before.step + 1 if before else 0,
        score=dreamt_score if dream is not None or real_score is None else real_score,
        real_score=real_score,
        dream=dream_frame,
        real=real_frame,
        difference=None if dream_frame is None or real_frame is None else _difference(dream_frame, real_frame),
        action=action,
        player=settings.player,
        reward=reward,
        real_reward=happened["real"].reward if "real" in happened and real_shown else None,
        ended=any(step.ended for step in steps),
        truncated=any(step.truncated for step in steps),
        why="; ".join(step.why for step in steps if step.why),
        reward_probs=None if dreamt is None or dreamt.reward_probs is None else dreamt.reward_probs.cpu().numpy(),
        end_prob=None if dreamt is None or dreamt.end_probs is None else float(dreamt.end_probs[1]),
        policy=thinks.probs if thinks else None,
        value=thinks.value if thinks else None,
        entropy=thinks.entropy if thinks else None,
        milliseconds=milliseconds,
        inside=_inside(dreamt, dream.context[0]) if settings.inside and dream is not None else None,
        kept=0,
    )


def plain(action: Encoded | None) -> int | list[int] | None:
    """An action in JSON's types."""
    return action.tolist() if isinstance(action, np.ndarray) else action


def _inside(dreamt: Dreamt | None, context: Tensor) -> Inside:
    """At a start nothing has been drawn, so its context is all there is to see."""
    if dreamt is not None:
        return Inside(to_numpy(dreamt.context), to_numpy(dreamt.trajectory))
    frames = to_numpy(context)
    return Inside(frames, frames[:0])


def _difference(a: Frame, b: Frame) -> Frame:
    return np.abs(a.astype(np.int16) - b).astype(np.uint8)
