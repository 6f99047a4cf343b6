"""Run folders as a finished or unfinished training leaves them, as far as a report reads them."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from diffworld.config import Config, preset
from diffworld.runtime.video import write_video

BENCHMARK_CONFIG = preset("atari100k")


def make_run(
    path: Path,
    game: str = "Breakout",
    seed: int = 0,
    scores: Sequence[float] = (20.0, 40.0),
    *,
    config: Config = BENCHMARK_CONFIG,
    film: bool = False,
    agent: bool = True,
    constant: float | None = None,
) -> Path:
    """A finished run of a game whose last test gave `scores`; or of a world model alone, without `agent`.

    `constant` is what always pressing UP scores; a run of before did not measure that.
    """
    path.mkdir(parents=True)
    config = replace(config, env=game if "/" in game else f"atari/{game}", seed=seed)
    (path / "config.json").write_text(config.to_json())
    steps = config.collection.total_steps
    tested: dict[str, Any] = {"agent": {"scores": list(scores)}, "random": {"scores": [1.0, 2.0]}}
    if constant is not None:
        tested |= {"constant": {"action": "UP", "scores": [constant] * 2}, "blind": {"scores": [constant - 5] * 2}}
    summary: dict[str, Any] = {"counters": {"env_steps": steps, "wall_seconds": 7200.0}, **(tested if agent else {})}
    (path / "summary.json").write_text(json.dumps(summary))
    entries = [
        {"epoch": i, "env_steps": steps * i // 5, "wall_seconds": 1440.0 * i, "collect/return": 3.0 * i}
        | ({"eval/return_mean": 4.0 * i} if i % 2 else {})
        for i in range(1, 6)
    ]
    (path / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    if film:
        frames = np.random.default_rng(seed).integers(0, 255, size=(8, 32, 32, 3)).astype(np.uint8)
        write_video(path / "dream.mp4", frames)
    return path
