"""The trainer: everything that changes while a run goes on, one method a phase, saved and put back whole."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffworld.agent.policy import ActorCriticPolicy
from diffworld.agent.returns import actor_critic_losses, lambda_returns
from diffworld.agent.rollout import Rollout, RolloutState, rollout, start_rollout
from diffworld.config import PARTS, Config, Part
from diffworld.device import autocast, resolve_compile, resolve_device, resolve_precision
from diffworld.envs import VectorEnv
from diffworld.errors import UserError
from diffworld.networks import build_networks, compile_networks
from diffworld.nn.cuda_graphs import Recorded
from diffworld.replay import Dataset, reward_bias, sample_around, sample_ending_near
from diffworld.run_folder import Checkpoint
from diffworld.training.collection import Collector
from diffworld.training.optimiser import Losses, Optimiser, descend
from diffworld.training.real_world import RealState, RealWorld
from diffworld.world_model.batches import to_batch
from diffworld.world_model.imagination import Imagination, ImaginationState


class Averages:
    """Running means of what one epoch logs; kept on the device, so that logging waits for nothing."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}

    def add(self, prefix: str, values: dict[str, Tensor]) -> None:
        """Count one more value of each name."""
        for name, value in values.items():
            key = f"{prefix}/{name}"
            self.sums[key] = self.sums.get(key, torch.zeros((), device=value.device)) + value.detach().float()
            self.counts[key] = self.counts.get(key, 0) + 1

    def means(self) -> dict[str, float]:
        """Mean of every name; UserError if one is not a finite number, before anything of it is saved."""
        means = {key: (total / self.counts[key]).item() for key, total in self.sums.items()}
        for key, mean in means.items():
            if not np.isfinite(mean):
                part = key.split("/")[0]
                raise UserError(
                    f"{key} is {mean}: training diverged and stopped before a bad checkpoint was written; "
                    f"train anew, or on from this run with --init-from, with a smaller "
                    f"--{part.replace('_', '-')}-updates.learning-rate"
                )
        return means


class Trainer:
    """Networks, optimisers, dreams and games of a run.

    `dataset` is the replay (None when model-free); `env` the game to collect from (None with fixed data).
    """

    def __init__(self, config: Config, num_actions: int, dataset: Dataset | None, env: VectorEnv | None) -> None:
        torch.manual_seed(config.seed)
        self.num_actions = num_actions
        self.config, self.dataset, self.env = config, dataset, env
        self.device = resolve_device(config.device)
        self.dtype = resolve_precision(config.precision, self.device)
        self.networks = build_networks(config, num_actions, self.device)
        if resolve_compile(config.compile, self.device):
            compile_networks(self.networks, config)
        self.optimisers: dict[Part, Optimiser] = {
            part: Optimiser(module, config.updates(part)) for part, module in self.networks.items()
        }
        self.batches: dict[Part, Callable[[], tuple[Tensor, ...]]] = {
            "denoiser": self._denoiser_batch,
            "reward_end": self._reward_end_batch,
            "actor_critic": lambda: (),  # it makes its own, by acting
        }
        self.gradients: dict[Part, Callable[..., Losses]] = {
            "denoiser": self._gradients(self._denoiser_losses),
            "reward_end": self._gradients(self._reward_end_losses),
            "actor_critic": self._gradients(self._actor_critic_losses),
        }
        self.rng = np.random.default_rng(config.seed)
        self.averages = Averages()
        self.collector: Collector | None = None
        self.imagination = Imagination(
            self.networks.denoiser,
            self.networks.reward_end,
            config.sampler,
            config.horizon,
            self.draw_starts,
            self.randn,
        )
        if self.device.type == "cuda" and config.compile != "off":
            self.record()
        self.real_world: RealWorld | None = None
        self.rollout_state: RolloutState[ImaginationState] | RolloutState[RealState] | None = None
        if env is not None and config.model_free:
            self.real_world = RealWorld(env, config.seed, self.device)
        elif env is not None and dataset is not None:
            c = config.collection
            policy = ActorCriticPolicy(
                self.networks.actor_critic, env.num_envs, temperature=c.temperature, epsilon=c.epsilon
            )
            self.collector = Collector(env, dataset, policy, config.seed)

    @property
    def env_steps(self) -> int:
        """Real steps taken so far."""
        if self.real_world is not None:
            return self.real_world.steps
        return self.dataset.num_steps if self.dataset is not None else 0

    def randn(self, shape: tuple[int, ...]) -> Tensor:
        """Standard normal numbers on the device."""
        return torch.randn(shape, device=self.device)

    def draw_starts(self, count: int) -> tuple[Tensor, Tensor]:
        """Replay windows for dreams to start from."""
        assert self.dataset is not None
        c = self.config
        windows = sample_ending_near(
            self.dataset, self.rng, count, c.denoiser.context_frames, self.recency, c.rewarded_share, lead=c.horizon
        )
        batch = to_batch(windows, self.device)
        return batch.frames, batch.actions

    @property
    def recency(self) -> bool:
        """Recent episodes are drawn more often while the replay grows; fixed data sets evenly."""
        return self.collector is not None

    def update(self, part: Part) -> None:
        """One update of one network, its losses counted in `averages`."""
        batch, gradients = self.batches[part], self.gradients[part]
        logged = self.optimisers[part].update(lambda: gradients(*batch()))
        if part == "actor_critic":
            self.networks.actor_critic.follow(logged["imagined_return"] - logged["value"])
        self.averages.add(part, logged)

    def _gradients(self, losses: Callable[..., Losses]) -> Callable[..., Losses]:
        """`losses` in the run's number format, with their gradients."""

        def in_precision(*batch: Tensor) -> Losses:
            with autocast(self.device, self.dtype):
                return losses(*batch)

        return descend(in_precision)

    def record(self) -> None:
        """Replace what does the same kernels each time by CUDA graphs of them."""
        for part in ("denoiser", "reward_end"):
            if self.config.updates(part).accumulate == 1:  # a replay sets gradients, it does not add to them
                module = getattr(self.networks, part)
                self.gradients[part] = Recorded(f"{part} update", self.gradients[part], module.parameters())
        self.imagination.networks_step = Recorded("dream step", self.imagination.networks_step)

    def _denoiser_batch(self) -> tuple[Tensor, ...]:
        c = self.config
        assert self.dataset is not None
        length = c.denoiser.context_frames + 1 + c.autoregressive_steps
        size = c.denoiser_updates.batch_size
        windows = sample_ending_near(self.dataset, self.rng, size, length, self.recency)
        batch = to_batch(windows, self.device)
        return batch.frames, batch.actions, batch.mask

    def _denoiser_losses(self, frames: Tensor, actions: Tensor, mask: Tensor) -> Losses:
        return {"loss": self.networks.denoiser.loss(frames, actions, mask, self.randn)}

    def _reward_end_batch(self) -> tuple[Tensor, ...]:
        c = self.config
        assert self.dataset is not None
        length = c.reward_end_window + c.denoiser.context_frames
        size, share = c.reward_end_updates.batch_size, c.rewarded_share
        batch = to_batch(sample_around(self.dataset, self.rng, size, length, self.recency, share), self.device)
        frames, drawn = batch.frames, round(c.reward_end_drawn_share * size)
        if drawn and self.optimisers["reward_end"].steps >= c.reward_end_updates.first_steps:
            with autocast(self.device, self.dtype):
                redrawn = self.imagination.redraw(frames[:drawn], batch.actions[:drawn], batch.mask[:drawn])
            frames = torch.cat([redrawn, frames[drawn:]])
        bias = torch.tensor(reward_bias(self.dataset, length, self.recency, share), dtype=torch.float32)
        return frames, batch.actions, batch.rewards, batch.ends, batch.successor, bias.to(self.device)

    def _reward_end_losses(self, *batch: Tensor) -> Losses:
        losses = self.networks.reward_end.loss(*batch)
        return {"loss": losses.total, "loss_reward": losses.reward, "loss_end": losses.end}

    def _actor_critic_losses(self) -> Losses:
        c = self.config
        steps = self._rollout()
        returns = lambda_returns(steps.rewards, steps.ends, steps.truncated, steps.next_values, c.returns)
        losses = actor_critic_losses(steps.logits, steps.actions, steps.values, returns, c.returns)
        return {
            "loss": losses.total,
            "loss_policy": losses.policy,
            "loss_value": losses.value,
            "entropy": losses.policy_entropy,
            "imagined_return": returns.mean(),
            "imagined_reward": steps.rewards.sign().mean(),
            "value": steps.values.mean(),
        }

    def _rollout(self) -> Rollout:
        """The next steps of the actor-critic in its world."""
        c, actor_critic = self.config, self.networks.actor_critic
        world: Any = self.real_world if self.real_world is not None else self.imagination
        if self.rollout_state is None:
            self.rollout_state = start_rollout(actor_critic, world, c.actor_critic_updates.batch_size)
        actor_critic.recentre(world.frames(self.rollout_state.world))
        steps, self.rollout_state = rollout(actor_critic, world, self.rollout_state, c.horizon)
        return steps

    def checkpoint(self, progress: dict[str, Any]) -> Checkpoint:
        """Everything needed to go on bit for bit; UserError if a loss is not finite."""
        self.averages.means()
        if self.dataset is not None and self.collector is not None:
            self.dataset.sync()
            progress = {**progress, "replay_rows": self.dataset.num_rows}
        state: dict[str, Any] = {
            "optimisers": {part: self.optimisers[part].state_dict() for part in PARTS},
            "torch_rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all() if self.device.type == "cuda" else [],
            "averages": {"sums": self.averages.sums, "counts": self.averages.counts},
            "rollout": _plain(self.rollout_state),
            "collector": self.collector.state_dict() if self.collector else None,
            "real_world": self.real_world.state_dict() if self.real_world else None,
        }
        progress = {**progress, "numpy_rng": self.rng.bit_generator.state}
        return Checkpoint(self.networks.tensors(), state, progress)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Put a checkpoint's state back; the replay must already be cut to its rows."""
        state = checkpoint.state
        self.networks.load(checkpoint.weights, PARTS)
        for part in PARTS:
            self.optimisers[part].load_state_dict(state["optimisers"][part])
        self.averages.sums = {k: v.to(self.device) for k, v in state["averages"]["sums"].items()}
        self.averages.counts = state["averages"]["counts"]
        if state["rollout"] is not None:
            self.rollout_state = self._to_rollout_state(state["rollout"])
        if self.collector is not None:
            self.collector.load_state_dict(_to_device(state["collector"], self.device, only="policy"))
        if self.real_world is not None:
            self.real_world.load_state_dict(state["real_world"])
        self.rng.bit_generator.state = checkpoint.progress["numpy_rng"]
        torch.set_rng_state(state["torch_rng"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state_all(state["cuda_rng"])

    def _to_rollout_state(self, plain: dict[str, Any]) -> Any:
        plain = _to_device(plain, self.device)
        kind = RealState if self.real_world is not None else ImaginationState
        return RolloutState(kind(**plain["world"]), plain["policy"])


def _plain(state: Any) -> Any:
    """A dataclass tree as dicts, without copying tensors."""
    if dataclasses.is_dataclass(state):
        return {f.name: _plain(getattr(state, f.name)) for f in dataclasses.fields(state)}
    return state


def _to_device(value: Any, device: torch.device, only: str = "") -> Any:
    """Move the tensors of a tree of dicts and tuples; with `only`, those under that key of the top dict."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, tuple):
        return tuple(_to_device(v, device) for v in value)
    if isinstance(value, dict):
        return {k: _to_device(v, device) if only in ("", k) else v for k, v in value.items()}
    return value
