"""What the tests of fidelity share: films with a place for every number, small networks, a run folder."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from diffworld.config import Config, preset
from diffworld.data import Dataset
from diffworld.envs import EnvironmentConfig
from diffworld.evaluation.fidelity.starts import RealEpisode, Starts, draw_starts
from diffworld.game import ActionSpace, GameSpec, Keys
from diffworld.models.denoiser import Conditioning, Denoiser, DenoiserConfig, UpsamplerConfig
from diffworld.models.reward_end import RewardEndModel
from diffworld.models.sampler import SamplerConfig
from diffworld.recipes import Networks, build_networks
from diffworld.runs import Checkpoint, RunFolder
from diffworld.world import FrameStack, TwoStages

HEIGHT, WIDTH, ACTIONS = 16, 20, 4
KEYS = ActionSpace((Keys(("left", "right", "fire")),))


def episode(number: int, steps: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> RealEpisode:
    """Noise of its own; the first pixel of frame t is (episode, t // 256, t % 256), and action t is t % ACTIONS."""
    rng = np.random.default_rng(number)
    frames = rng.integers(0, 256, (steps + 1, *size, 3), dtype=np.uint8)
    t = np.arange(steps + 1)
    frames[:, 0, 0] = np.stack([np.full_like(t, number), t // 256, t % 256], axis=1)
    ends = np.zeros(steps, bool)
    ends[-1:] = True
    rewards = rng.integers(-1, 2, steps).astype(np.float32)
    return RealEpisode(t[:-1] % ACTIONS, rewards, ends, lambda first, stop: frames[first:stop])


def some_starts(*lengths: int, count: int = 6, context: int = 4, horizon: int = 12) -> Starts:
    """Windows of noise episodes of these lengths."""
    episodes = [episode(i, length) for i, length in enumerate(lengths or (30, 9, 15))]
    return draw_starts(episodes, count, context, horizon, np.random.default_rng(0))


def tiny_config(env: str = "atari/Breakout") -> Config:
    """Networks of a few channels, as they come from their initialisation."""
    c = preset("demo")
    small = {"channels": (8, 8), "depths": (1, 1), "attention": (False, False)}
    return replace(
        c,
        env=env,
        precision="float32",
        environment=EnvironmentConfig(height=HEIGHT, width=WIDTH, frame_skip=4),
        denoiser=replace(c.denoiser, **small, cond_channels=16),
        reward_end=replace(c.reward_end, **small, cond_channels=8, lstm_channels=16),
        actor_critic=replace(c.actor_critic, channels=(8, 8), pool=(True, True), lstm_channels=16),
    )


def tiny_spec(
    config: Config | None = None, size: tuple[int, int] = (HEIGHT, WIDTH), actions: int = ACTIONS
) -> GameSpec:
    """Breakout as the configuration presents it."""
    names = ["NOOP", "FIRE", "RIGHT", "LEFT", *map(str, range(4, 18))][:actions]
    presented = asdict((config or tiny_config()).environment)
    return GameSpec("atari/Breakout", *size, ActionSpace.discrete(names), presented=presented)


def tiny_networks(config: Config | None = None) -> Networks:
    """Random everywhere, also where training starts at zero, so that every input matters."""
    networks = build_networks(config or tiny_config(), tiny_spec(), torch.device("cpu"))
    generator = torch.Generator().manual_seed(1)
    for _, network in networks.items():
        for p in network.parameters():
            p.data += 0.1 * torch.randn(p.shape, generator=generator)
    return networks


def tiny_world(steps: int = 1) -> tuple[FrameStack, RewardEndModel]:
    """A world model with so many denoising steps, and its judge of rewards and ends."""
    networks = tiny_networks()
    assert isinstance(networks.denoiser, Denoiser) and isinstance(networks.reward_end, RewardEndModel)
    return FrameStack(networks.denoiser, networks.reward_end, SamplerConfig(steps)), networks.reward_end


def tiny_two_stages(factor: int = 2) -> TwoStages:
    """A world of two stages with random weights everywhere."""
    levels = {"channels": (8,), "depths": (1,), "attention": (False,)}
    actions = ActionSpace.discrete(ACTIONS)
    denoiser = Denoiser(DenoiserConfig(4, 8, **levels), actions, Conditioning(noise_context=True))  # type: ignore[arg-type]
    config = UpsamplerConfig(1, 8, **levels, factor=factor)  # type: ignore[arg-type]
    upsampler = Denoiser(config, None, Conditioning(upsampling_factor=factor))
    generator = torch.Generator().manual_seed(1)
    for network in (denoiser, upsampler):
        for p in network.parameters():
            p.data += 0.1 * torch.randn(p.shape, generator=generator)
    return TwoStages(FrameStack(denoiser, None, SamplerConfig(1)), upsampler, SamplerConfig(1))


def make_run(path: Path, config: Config | None = None, replay_steps: int = 60) -> RunFolder:
    """A run folder with one checkpoint and a replay of noise."""
    config = config or tiny_config()
    run = RunFolder(path)
    run.begin(config, tiny_spec(config))
    progress: dict[str, object] = {"progress": {"saves": 1}}
    if replay_steps:
        fill(run.replay, replay_steps)
        progress["replay_rows"] = replay_steps + 1
    run.save(1, Checkpoint(tiny_networks(config).tensors(), {}, progress))
    return run


def fill(path: Path, steps: int, size: tuple[int, int] = (HEIGHT, WIDTH), actions: int = ACTIONS) -> Path:
    """A data set of one ended episode; returns `path`."""
    with Dataset.create(path, tiny_spec(size=size, actions=actions)) as dataset:
        add_episode(dataset, 99, steps)
    return path


def add_episode(dataset: Dataset, seed: int, steps: int) -> None:
    """One more ended episode of noise."""
    real, space = episode(seed, steps, dataset.spec.frame_size), dataset.spec.actions
    frames = real.read_frames(0, steps + 1)
    number = dataset.new_episode() if steps else 0
    for t in range(steps):
        last = t == steps - 1
        action = int(real.actions[t]) if space.is_discrete else np.arange(space.size) == t % space.size
        final = frames[-1] if last else None
        dataset.append(number, frames[t], action, float(real.rewards[t]), last, False, final)
