"""What the version before wrote: the configuration, data set and checkpoint of a run."""

import json
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from diffworld.data.schema import FINAL, STEP, TERMINATED

UPDATES = {"first_learning_rate": 0.0, "half_life": 0, "warmup": 100, "accumulate": 1}


def older_config() -> dict[str, Any]:
    """A `config.json` of the version before, field by field."""
    levels = {"depths": [1, 1], "attention": [False, False]}
    config: dict[str, Any] = {
        "env": "atari/Boxing",
        "seed": 0,
        "device": "auto",
        "precision": "auto",
        "compile": "off",
        "data": "",
        "epochs_on_data": 5,
        "init_from": "",
        "parts": ["denoiser", "reward_end", "actor_critic"],
        "model_free": False,
        "epochs_after_collection": 2,
        "autoregressive_steps": 1,
        "horizon": 14,
        "reward_end_window": 13,
        "reward_end_drawn_share": 0.0,
        "rewarded_share": 0.0,
        "environment": {
            "height": 16,
            "width": 16,
            "frame_skip": 4,
            "noop_max": 30,
            "sticky_actions": 0.0,
            "life_loss_ends": True,
            "max_steps": 0,
        },
        "collection": {
            "total_steps": 7200,
            "first_steps": 4000,
            "first_steps_max": 8000,
            "first_rewards": 10,
            "steps_per_epoch": 800,
            "epsilon": 0.01,
            "temperature": 1.0,
            "num_envs": 1,
        },
        "denoiser": {
            "context_frames": 4,
            "cond_channels": 8,
            "channels": [8, 8],
            **levels,
            "sigma_offset": 0.3,
            "noise_levels": {"mean": -0.4, "std": 1.2, "low": 0.002, "high": 20.0},
            "multi_hot_actions": False,
            "noise_context": False,
            "upsampling_factor": 1,
        },
        "sampler": {
            "denoising_steps": 1,
            "sigma_min": 0.002,
            "sigma_max": 5.0,
            "rho": 7.0,
            "order": 1,
            "churn": 0.0,
            "churn_min": 0.0,
            "churn_max": 1000.0,
            "churn_noise": 1.0,
            "sigma_context": 0.0,
        },
        "reward_end": {"lstm_channels": 8, "cond_channels": 8, "channels": [8, 8], **levels},
        "actor_critic": {"lstm_channels": 8, "channels": [8], "pool": [True], "centre_features": False},
        "returns": {
            "discount": 0.985,
            "lambda_": 0.95,
            "entropy_weight": 0.001,
            "value_weight": 1.0,
            "scale_advantages": False,
        },
        "denoiser_updates": {"first_steps": 24, "steps": 2, "learning_rate": 1e-3, "weight_decay": 0.01, "clip": 1.0},
        "reward_end_updates": {"first_steps": 5, "steps": 3, "learning_rate": 1e-3, "weight_decay": 0.01, "clip": 9.0},
        "actor_critic_updates": {"first_steps": 5, "steps": 1, "learning_rate": 1e-3, "weight_decay": 0.0, "clip": 9.0},
        "evaluation": {
            "every_epochs": 0,
            "episodes": 4,
            "final_episodes": 8,
            "random_episodes": 8,
            "temperature": 1.0,
            "num_envs": 8,
            "held_out_steps": 1000,
            "held_out_windows": 128,
        },
        "checkpoint_seconds": 30.0,
        "checkpoints_kept": 3,
        "wandb": False,
        "trackio": False,
    }
    for name in ("denoiser", "reward_end", "actor_critic"):
        config[f"{name}_updates"] |= {**UPDATES, "batch_size": 8}
    return json.loads(json.dumps(config))


def write_older_data(
    folder: Path,
    action: dict[str, Any],
    info: dict[str, Any],
    actions: np.ndarray,
    shape: tuple[int, int, int] = (2, 3, 3),
) -> None:
    """A data set of one ended episode, byte by byte as the version before wrote it."""
    folder.mkdir()
    form = "<i4" if action["kind"] == "discrete" else f"({action['size']},)u1"
    record = np.dtype([("episode", "<u4"), ("action", form), ("reward", "<f4"), ("flags", "u1"), ("crc", "<u4")])
    rows = np.zeros(len(actions) + 1, record)
    rows["action"][:-1], rows["reward"][:-1] = actions, np.arange(len(actions))
    rows["flags"] = [STEP] * (len(actions) - 1) + [STEP | TERMINATED, FINAL]
    frames = (np.arange(len(rows) * np.prod(shape)) % 256).astype(np.uint8).reshape(-1, *shape)
    for row, frame in zip(range(len(rows)), frames, strict=True):
        rows["crc"][row] = crc32(rows[row : row + 1].tobytes()[:-4], crc32(frame.tobytes()))
    (folder / "frames.bin").write_bytes(frames.tobytes())
    (folder / "rows.bin").write_bytes(rows.tobytes())
    description = {"format_version": 1, "frame_shape": list(shape), "action": action, "info": info}
    (folder / "dataset.json").write_text(json.dumps(description))


def make_older(checkpoint: Path) -> None:
    """Leave of a checkpoint's progress what the version before wrote: no steps taken, no checksum of its own."""
    path = checkpoint / "progress.json"
    progress = json.loads(path.read_text())
    del progress["env_steps"], progress["sha256"]["progress.json"]
    path.write_text(json.dumps(progress))
