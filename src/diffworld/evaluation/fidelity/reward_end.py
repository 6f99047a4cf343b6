"""What the reward/end model says on a film, beside what really happened: precision, recall, calibration."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffworld.evaluation.fidelity.starts import Starts
from diffworld.models.reward_end import RewardEndModel
from diffworld.runtime.frames import Film, frames_from_bytes

RANGE_ENDS = (10, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
"""Rewards and ends are rare: steps are pooled up to each of these."""
BINS = 10
"""Equal bins of the predicted probability, for calibration."""
_FRAMES_AT_ONCE = 512


@dataclass(frozen=True, eq=False)
class Judgement:
    """Predicted probabilities at each step: reward signs -1, 0, 1 (B, T, 3) and the end (B, T)."""

    rewards: NDArray[np.float32]
    ends: NDArray[np.float32]


@dataclass(frozen=True)
class Judge:
    """A reward/end model, and how it sees frames."""

    model: RewardEndModel
    seen: Callable[[Tensor], Tensor] = lambda frames: frames

    @torch.no_grad()
    def __call__(self, starts: Starts, film: Film, device: torch.device) -> Judgement:
        """Run the model over context and film with the real actions, as the imagination does."""
        n, (rows, steps) = starts.context_frames, film.shape[:2]
        frames = np.concatenate([starts.context, film], axis=1)
        actions = torch.from_numpy(starts.actions).to(device)
        state, rewards, ends = self.model.zero_state(rows), [], []
        chunk = max(1, _FRAMES_AT_ONCE // rows)
        for first in range(0, n - 1 + steps, chunk):
            acted = actions[:, first : first + chunk]
            shown = torch.from_numpy(frames[:, first : first + acted.shape[1] + 1]).to(device)
            x = self.seen(frames_from_bytes(shown))
            reward_logits, end_logits, state = self.model(x[:, :-1], acted, x[:, 1:], state)
            rewards.append(reward_logits.softmax(-1).cpu())
            ends.append(end_logits.softmax(-1)[..., 1].cpu())
        return Judgement(torch.cat(rewards, 1)[:, n - 1 :].numpy(), torch.cat(ends, 1)[:, n - 1 :].numpy())


def step_ranges(horizon: int) -> list[tuple[int, int]]:
    """Ranges of steps (first, last), both counted from 1 and included, that cover 1..horizon."""
    lasts = [*(last for last in RANGE_ENDS if last < horizon), horizon]
    return list(zip([1, *(last + 1 for last in lasts[:-1])], lasts, strict=True))


def reward_end_scores(judgement: Judgement, starts: Starts) -> dict[str, list[dict[str, Any]]]:
    """For reward and end, scores of each step range and then of all steps together (see `event_scores`)."""
    signs, valid = np.sign(starts.rewards).astype(np.int64), starts.valid
    horizon = starts.truth.shape[1]
    said_sign, said_end = judgement.rewards.argmax(-1) - 1, (judgement.ends > 0.5).astype(np.int64)
    probability = 1 - judgement.rewards[..., 1]
    scores: dict[str, list[dict[str, Any]]] = {"reward": [], "end": []}
    for first, last in [*step_ranges(horizon), (1, horizon)]:
        part = np.zeros_like(valid)
        part[:, first - 1 : last] = valid[:, first - 1 : last]
        head = {"steps": [first, last]}
        scores["reward"].append(head | event_scores(said_sign[part], signs[part], probability[part]))
        ends = starts.ends.astype(np.int64)
        scores["end"].append(head | event_scores(said_end[part], ends[part], judgement.ends[part]))
    return scores


def event_scores(said: NDArray[np.int64], true: NDArray[np.int64], probability: NDArray[np.floating]) -> dict[str, Any]:
    """Precision, recall and calibration of events (values that are not 0) over K steps.

    Args:
        said, true: (K,) the likeliest value, and the true one; an event is right only with the true value.
        probability: (K,) what the model gives to there being an event at all.

    Returns counts, `precision`, `recall` and `f1` (None where nothing was said, or nothing was to be said),
    `predicted_rate` and `observed_rate` (mean probability and share of events), `calibration_error` (expected
    calibration error: Guo et al. 2017, equation 3), and `reliability`: the bins of probability that are not
    empty, with their mean probability and share of events.
    """
    right = int(((said != 0) & (said == true)).sum())
    n_said, n_true, count = int((said != 0).sum()), int((true != 0).sum()), len(true)
    happened = (true != 0).astype(np.float64)
    places = np.minimum((probability * BINS).astype(np.int64), BINS - 1)
    bins = [
        {
            "from": b / BINS,
            "to": (b + 1) / BINS,
            "steps": int(inside.sum()),
            "predicted": float(probability[inside].mean()),
            "observed": float(happened[inside].mean()),
        }
        for b in range(BINS)
        if (inside := places == b).any()
    ]
    return {
        "count": count,
        "right": right,
        "said": n_said,
        "true": n_true,
        "precision": right / n_said if n_said else None,
        "recall": right / n_true if n_true else None,
        "f1": 2 * right / (n_said + n_true) if n_said + n_true else None,
        "predicted_rate": float(probability.mean()) if count else None,
        "observed_rate": float(happened.mean()) if count else None,
        "calibration_error": sum(b["steps"] * abs(b["predicted"] - b["observed"]) for b in bins) / max(count, 1),
        "reliability": bins,
    }
