"""The real game as a world to roll out in: the model-free baseline of the same actor-critic."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from diffworld.envs import VectorEnv
from diffworld.envs.seeds import training_seed
from diffworld.training.collection import games_from_plain, games_to_plain
from diffworld.world_model.diffusion import frames_from_bytes
from diffworld.world_model.imagination import Outcome


@dataclass(frozen=True)
class RealState:
    """Where the games stand, as far as the policy can see: frames (B, 3, H, W)."""

    frames: Tensor


class RealWorld:
    """`agent.rollout.World` over a vector environment, one row a game; counts its real steps."""

    def __init__(self, env: VectorEnv, seed: int, device: torch.device) -> None:
        self.env, self.device = env, device
        self.run_seed, self.games = seed, 0
        self.steps = 0
        self.scores = np.zeros(env.num_envs)
        self.finished: list[float] = []

    def start(self, rows: int) -> RealState:
        """Reset every game."""
        assert rows == self.env.num_envs
        return RealState(self._to_tensor(self.env.reset(self._take_seeds(rows))))

    def frames(self, state: RealState) -> Tensor:
        """The current frames."""
        return state.frames

    def step(self, state: RealState, actions: Tensor) -> tuple[RealState, Outcome]:
        """One step of every game; games that are over are reset, episodes that ended begin anew."""
        step = self.env.step(actions.cpu().numpy())
        self.steps += self.env.num_envs
        self.scores += step.rewards
        ended = torch.from_numpy(step.terminated | step.truncated)
        current = step.frames.copy()
        over = np.flatnonzero(step.needs_reset)
        if len(over):
            self.finished += self.scores[over].tolist()
            self.scores[over] = 0
            current[over] = self.env.reset(self._take_seeds(len(over)), over.tolist())
        next_frames = self._to_tensor(step.frames)
        rows = torch.nonzero(ended).squeeze(1).to(self.device)
        outcome = Outcome(
            next_frames=next_frames,
            rewards=torch.from_numpy(step.rewards).to(self.device),
            ends=torch.from_numpy(step.terminated).to(self.device),
            truncated=torch.from_numpy(step.truncated).to(self.device),
            restarted=rows,
            burn_in=next_frames.new_zeros(len(rows), 0, *next_frames.shape[1:]),
        )
        return RealState(self._to_tensor(current)), outcome

    def state_dict(self) -> dict[str, object]:
        """Everything needed to bring the games back."""
        return {
            "games": games_to_plain(self.env),
            "games_begun": self.games,
            "steps": self.steps,
            "scores": torch.tensor(self.scores),  # a copy: scores grow in place
            "finished": list(self.finished),
        }

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Replay the running games."""
        games_from_plain(self.env, state["games"])  # type: ignore[arg-type]
        self.games, self.steps = int(state["games_begun"]), int(state["steps"])  # type: ignore[call-overload]
        self.scores = state["scores"].numpy().copy()  # type: ignore[attr-defined]
        self.finished = list(state["finished"])  # type: ignore[call-overload]

    def _take_seeds(self, count: int) -> list[int]:
        self.games += count
        return [training_seed(self.run_seed, self.games - count + i) for i in range(count)]

    def _to_tensor(self, frames: np.ndarray) -> Tensor:
        return frames_from_bytes(torch.from_numpy(frames).to(self.device))
