"""Train Stable-Baselines3's PPO in a dream, then let it play the real game, beside players that do not look at it.

    pip install "diffworld[sb3]"
    python examples/sb3_in_a_dream.py                          # in the dream of the package's own model
    python examples/sb3_in_a_dream.py --model runs/breakout --horizon 50 --steps 200000

The real game is played only at the end, for the scores; the agent learns from dreamt frames alone.
"""

import time
from typing import Any

import gymnasium
import numpy as np
import torch
import tyro
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnv, VecMonitor
from torch import Tensor, nn

import diffworld
from diffworld.envs import ActionCounter
from diffworld.envs.make import make_game
from diffworld.evaluation.blind import play_blind
from diffworld.evaluation.games import TestGames, scores
from diffworld.game.gym_spaces import from_gym_action
from diffworld.runtime.errors import UserError
from diffworld.runtime.progress import Display


class OneBatch(VecEnv):
    """Rows that are stepped together, of which none has attributes or methods of its own."""

    def step_async(self, actions: NDArray[Any]) -> None:
        self.actions = actions

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        owner = self if attr_name in vars(self) else self.batch
        return [getattr(owner, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        raise NotImplementedError("rows are one batch: none has attributes of its own")

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        raise NotImplementedError("rows are one batch: none has methods of its own")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * self.num_envs

    def close(self) -> None:
        self.batch.close()


class DreamVecEnv(OneBatch):
    """Gymnasium's vector of dreams as Stable-Baselines3 wants it: resets in the same step, an info for each row."""

    def __init__(self, envs: gymnasium.vector.VectorEnv[Any, Any, Any]) -> None:
        assert envs.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
        self.batch, self.render_modes = envs, [envs.render_mode] * envs.num_envs
        super().__init__(envs.num_envs, envs.single_observation_space, envs.single_action_space)

    def reset(self) -> NDArray[np.uint8]:
        frames, _ = self.batch.reset(seed=self._seeds)
        self._reset_seeds()
        return frames

    def step_wait(self) -> tuple[NDArray[np.uint8], NDArray[Any], NDArray[np.bool_], list[dict[str, Any]]]:
        frames, rewards, ended, truncated, infos = self.batch.step(self.actions)
        rows: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for row in np.flatnonzero(ended | truncated):
            rows[row] = {"terminal_observation": infos["final_obs"][row], "TimeLimit.truncated": truncated[row]}
        return frames, rewards.astype(np.float32), ended | truncated, rows


class SmallCnn(BaseFeaturesExtractor):
    """Three convolutions that halve frames of any size; CnnPolicy's own needs 36x36 pixels."""

    def __init__(self, observation_space: gymnasium.spaces.Box, features_dim: int = 128) -> None:
        super().__init__(observation_space, features_dim)
        widths, height, width = (3, 16, 32, 32), *observation_space.shape[1:]
        layers: list[nn.Module] = []
        for before, after in zip(widths, widths[1:], strict=False):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU()]
            height, width = (height + 1) // 2, (width + 1) // 2
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * height * width, features_dim), nn.ReLU())

    def forward(self, frames: Tensor) -> Tensor:
        return self.layers(frames)


class Progress(BaseCallback):
    """A line every few seconds."""

    def __init__(self, every: float = 10.0) -> None:
        super().__init__()
        self.every, self.began, self.said = every, time.monotonic(), time.monotonic()

    def _on_step(self) -> bool:
        if time.monotonic() - self.said > self.every:
            self.said = time.monotonic()
            returns = [episode["r"] for episode in self.model.ep_info_buffer or []]
            seconds = int(self.said - self.began)
            print(
                f"{seconds // 60}:{seconds % 60:02d} | {self.num_timesteps:,} steps"
                f" | reward of an episode {np.mean(returns):+.2f}",
                flush=True,
            )
        return True


class Agent:
    """What Stable-Baselines3 trained, as a player of real games."""

    def __init__(self, ppo: PPO, actions: diffworld.ActionSpace) -> None:
        self.ppo, self.actions = ppo, actions

    def act(self, frames: NDArray[np.uint8], fresh: NDArray[np.bool_]) -> NDArray[Any]:
        chosen, _ = self.ppo.predict(frames, deterministic=False)
        return np.stack([np.asarray(from_gym_action(self.actions, action)) for action in chosen])


def learner(envs: VecEnv, seed: int, device: torch.device | str) -> PPO:
    """PPO for small frames."""
    return PPO(
        "CnnPolicy",
        VecMonitor(envs),
        n_steps=64,
        batch_size=256,
        n_epochs=3,
        learning_rate=5e-4,
        gamma=0.97,
        ent_coef=0.01,
        policy_kwargs={"features_extractor_class": SmallCnn, "net_arch": []},
        seed=seed,
        device=device,
    )


def main(
    model: str = "demo",
    steps: int = 60_000,
    seed: int = 0,
    games: int = 20,
    rows: int = 32,
    horizon: int | None = None,
    device: str = "auto",
) -> dict[str, float]:
    """Train PPO in the dream of a run, and compare it in the real game.

    Args:
        model: a run folder, or demo.
        steps: dreamt steps to learn from.
        seed: of the dreams and of the agent.
        games: real games that every player plays.
        rows: dreams side by side.
        horizon: steps of a dream; the run's own if not given.
        device: auto, cpu, cuda or mps.
    """
    trained = diffworld.load(model, device)
    spec = trained.spec
    make_game(spec).close()  # a mistake is told before the training
    envs = gymnasium.make_vec(
        "diffworld/Dream-v0", rows, model=trained, horizon=horizon, autoreset_mode=AutoresetMode.SAME_STEP
    )
    ppo = learner(DreamVecEnv(envs), seed, trained.device)
    print(f"PPO in the dream of {trained.title} ({spec.name}), {rows} rows", flush=True)
    ppo.learn(steps, callback=Progress())
    tests, pressed = TestGames(spec, seed, num_envs=10), ActionCounter()
    agent = tests.play(Agent(ppo, spec.actions), games, on_step=pressed)
    random = tests.play(None, games, policy_seed=seed)
    blind = play_blind(tests, pressed, games, Display())
    played = {"PPO": agent, "random": random, f"always {blind.action}": blind.constant, "blind mixture": blind.mixture}
    means = {}
    print(f"scores in {games} real games:")
    for name, results in played.items():
        error = np.std(scores(results), ddof=1) / np.sqrt(games) if games > 1 else float("nan")
        means[name] = float(np.mean(scores(results)))
        print(f"  {name:16} {means[name]:8.2f} ± {error:.2f}", flush=True)
    return means


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
