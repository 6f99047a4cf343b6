"""Folders of golden numbers made by the tests: of other networks, and altered ones."""

import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from diffworld.compat.golden import verify_golden
from diffworld.compat.names import load_published
from diffworld.compat.sizes import build_parts
from diffworld.models.denoiser import Denoiser
from diffworld.models.diffusion import LogNormalSigma
from diffworld.models.sampler import SamplerConfig, karras_schedule
from published import to_published

GOLDEN = Path(__file__).parents[1] / "golden"


def copy_golden(folder: Path, *files: str, config: str = "atari_config.json") -> Path:
    for file in (config, *files):
        shutil.copy(GOLDEN / file, folder)
    return folder


def alter(path: Path, change: Callable[[dict[str, np.ndarray]], None]) -> None:
    with np.load(path) as data:
        arrays = {name: data[name].copy() for name in data.files}
    change(arrays)
    np.savez(path, **arrays)


def add_to(name: str, amount: float) -> Callable[[dict[str, np.ndarray]], None]:
    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays[name].reshape(-1)[-1] += amount

    return change


def small_atari() -> dict[str, Any]:
    """Another size, action count, number of levels, attention and context than the published."""
    return {
        "image_size": [12, 20],
        "num_actions": 7,
        "denoiser": {
            "sigma_offset_noise": 0.2,
            "num_steps_conditioning": 3,
            "cond_channels": 12,
            "depths": [1, 2],
            "channels": [8, 16],
            "attn_depths": [0, 1],
        },
        "reward_end": {
            "lstm_dim": 10,
            "cond_channels": 6,
            "depths": [1, 1, 2],
            "channels": [8, 8, 16],
            "attn_depths": [1, 0, 0],
        },
        "actor_critic": {"lstm_dim": 9, "channels": [8, 16, 16], "down": [1, 0, 1]},
    }


def small_csgo() -> dict[str, Any]:
    return {
        "low_res": [6, 7],
        "full_res": [18, 21],
        "num_actions": 11,
        "denoiser": {
            "sigma_offset_noise": 0.1,
            "noise_previous_obs": True,
            "num_steps_conditioning": 2,
            "cond_channels": 8,
            "depths": [1, 1, 1],
            "channels": [8, 8, 16],
            "attn_depths": [0, 0, 1],
        },
        "upsampler": {
            "sigma_offset_noise": 0.1,
            "noise_previous_obs": False,
            "upsampling_factor": 3,
            "num_steps_conditioning": 1,
            "cond_channels": 8,
            "depths": [2],
            "channels": [16],
            "attn_depths": [0],
        },
    }


def tensors_by_the_rule(shapes: dict[str, list[int]], salt: str) -> dict[str, Tensor]:
    """The README's rule, written a second time."""
    tensors = {}
    for name, shape in shapes.items():
        seed = zlib.crc32(f"{salt}{name}".encode())
        v = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
        fixed = name.endswith("noise_emb.weight") or name.endswith("noise_cond_emb.weight")
        if not fixed and v.ndim > 1:
            v = v / np.sqrt(v[0].size)
        elif not fixed:
            v = 1 + 0.1 * v if name.endswith("norm.weight") else 0.02 * v
        tensors[name] = torch.from_numpy(v.astype(np.float32))
    return tensors


def weighted_parts(config: dict[str, Any], salt: str) -> dict[str, nn.Module]:
    parts = build_parts(config)
    config["state_dict"] = {name: list(tensor.shape) for name, tensor in to_published(parts).items()}
    load_published(parts, tensors_by_the_rule(config["state_dict"], salt))
    return parts


def frames(*shape: int) -> Tensor:
    return torch.rand(shape) * 2 - 1


class Draws:
    """Noise that is kept, under the names of a golden file."""

    def __init__(self) -> None:
        self.arrays: dict[str, Tensor] = {}

    def __call__(self, shape: tuple[int, ...]) -> Tensor:
        noise = torch.randn(shape)
        self.arrays[f"noise_{len(self.arrays)}"] = noise
        return noise


Arrays = dict[str, Tensor]


def forward_arrays(denoiser: Denoiser, context: Arrays, size: tuple[int, int]) -> Arrays:
    inputs = {"noisy": torch.randn(2, 3, *size), "sigma": torch.tensor([0.4, 3.0])}
    with torch.no_grad():
        encoded = denoiser.encode(
            context["context_obs"], context["context_act"], sigma_context=context.get("sigma_cond")
        )
        output, c = denoiser.network_output(inputs["noisy"], inputs["sigma"], encoded)
        denoised = denoiser.denoise(inputs["noisy"], inputs["sigma"], encoded)
    return context | inputs | {"network_output": output, "denoised": denoised, "c_in": c.c_in, "c_skip": c.c_skip}


def loss_arrays(denoiser: Denoiser, inputs: Arrays, levels: LogNormalSigma) -> Arrays:
    noise, upsampler = Draws(), denoiser.conditioning.upsampling_factor > 1
    object.__setattr__(denoiser.config, "noise_levels", levels)
    windows = inputs["full_res"] if upsampler else inputs["obs"]
    low_res = inputs["low_res"] if upsampler else None
    loss = denoiser.loss(windows, inputs.get("act"), inputs["mask"], noise, low_res=low_res)
    loss.backward()
    norm = torch.stack([p.grad.norm() for p in denoiser.parameters() if p.grad is not None]).norm()
    return inputs | noise.arrays | {"loss": loss.detach(), "grad_norm": norm}


def sampler_arrays(denoiser: Denoiser, context: Arrays, config: SamplerConfig) -> Arrays:
    noise = Draws()
    sample, trajectory = denoiser.sample(context["context_obs"], context["context_act"], config, noise)
    sigmas = torch.tensor(karras_schedule(config))
    return context | noise.arrays | {"sample": sample, "trajectory": torch.stack(trajectory), "sigmas": sigmas}


def write_atari_folder(folder: Path, salt: str = "") -> Path:
    config = small_atari()
    parts = weighted_parts(config, salt)
    denoiser, reward_end, actor_critic = parts["denoiser"], parts["reward_end"], parts["actor_critic"]
    assert isinstance(denoiser, Denoiser)
    context = {"context_obs": frames(2, 3, 3, 12, 20), "context_act": torch.randint(7, (2, 3))}
    mask = torch.ones(2, 5, dtype=torch.bool)
    mask[0, 3] = False
    window = {"obs": frames(2, 5, 3, 12, 20), "act": torch.randint(7, (2, 5)), "mask": mask}
    with torch.no_grad():
        obs, act = frames(2, 4, 3, 12, 20), torch.randint(7, (2, 4))
        reward, end, (h, c) = reward_end(obs[:, :-1], act[:, :-1], obs[:, 1:], (torch.zeros(2, 10), torch.zeros(2, 10)))
        rewards = {"obs": obs, "act": act, "logits_reward": reward, "logits_end": end, "hx": h[None], "cx": c[None]}
        obs = frames(3, 2, 3, 12, 20)
        steps, state = [], (torch.zeros(2, 9), torch.zeros(2, 9))
        for frame in obs:
            logits, value, state = actor_critic(frame, state)
            steps.append((logits, value))
        logits, values = (torch.stack(column) for column in zip(*steps, strict=True))
        acting = {"obs": obs, "logits": logits, "value": values, "hx": state[0], "cx": state[1]}
    save(
        folder,
        "atari",
        config,
        {
            "denoiser_forward": forward_arrays(denoiser, context, (12, 20)),
            "denoiser_loss": loss_arrays(denoiser, window, LogNormalSigma()),
            "sampler_euler3": sampler_arrays(denoiser, context, SamplerConfig()),
            "reward_end_forward": rewards,
            "actor_critic_forward": acting,
        },
    )
    return folder


def write_csgo_folder(folder: Path, salt: str = "") -> Path:
    config = small_csgo()
    parts = weighted_parts(config, salt)
    denoiser, upsampler = parts["denoiser"], parts["upsampler"]
    assert isinstance(denoiser, Denoiser) and isinstance(upsampler, Denoiser)
    acts = torch.randint(2, (2, 2, 11))
    context = {"context_obs": frames(2, 2, 3, 6, 7), "context_act": acts}
    mask = torch.ones(2, 3, dtype=torch.bool)
    full = {"full_res": frames(2, 3, 3, 18, 21), "low_res": frames(2, 3, 3, 6, 7), "mask": mask}
    save(
        folder,
        "csgo",
        config,
        {
            "csgo_denoiser_forward": forward_arrays(
                denoiser, context | {"sigma_cond": torch.tensor([0.1, 2.0])}, (6, 7)
            ),
            "csgo_sampler_quality": sampler_arrays(denoiser, context, SamplerConfig(3, sigma_context=0.005)),
            "csgo_upsampler_loss": loss_arrays(upsampler, full, LogNormalSigma(mean=-1.2)),
        },
    )
    return folder


def save(folder: Path, family: str, config: dict[str, Any], files: dict[str, Arrays]) -> None:
    (folder / f"{family}_config.json").write_text(json.dumps(config))
    for name, arrays in files.items():
        np.savez(folder / f"{name}.npz", **{key: value.numpy() for key, value in arrays.items()})


def passed(folder: Path, salt: str = "") -> dict[str, bool]:
    return {result.name: result.passed for result in verify_golden(folder, salt)}
