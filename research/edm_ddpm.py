"""EDM or DDPM: python -m research.edm_ddpm --data DIR --held-out DIR --out DIR

The comparison of DIAMOND's section 5.1 (Alonso et al. 2024): the same network is trained as an EDM and as a DDPM, on
the same windows of a fixed data set in the same order, from the same first weights, for as many updates. Then both
dream the same real actions from the same starts, for up to 1000 steps, with 1, 3 and 10 denoising steps a frame. Both
are trained on true context frames only (no autoregressive steps, as the paper's DDPM): then both losses are means over
the same frames. `research/ddpm.py` says what the DDPM is, `docs/fidelity.md` what is measured.

Writes edm_ddpm.json, edm_ddpm.png and edm_ddpm_strip.png to --out, where the training's checkpoints are too. The same
command goes on where it was stopped. Record the data with `diffworld record`.
"""

import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring import check_pair, command, write_compact_json
from diffworld.config import Config
from diffworld.data import Dataset
from diffworld.evaluation.fidelity.drift import KnownColours
from diffworld.evaluation.fidelity.figures import pooled
from diffworld.evaluation.fidelity.films import TrainingFrames, last_frame_film, roll_out
from diffworld.evaluation.fidelity.frame_metrics import require_flip
from diffworld.evaluation.fidelity.measure import by_step, measure
from diffworld.evaluation.fidelity.reward_end import step_ranges
from diffworld.evaluation.fidelity.starts import RealEpisode, Starts, dataset_episodes
from diffworld.evaluation.fidelity.study import LAST_FRAME, REAL
from diffworld.models.sampler import SamplerConfig
from diffworld.runtime.checked import Amount, Count, Natural, Positive, Share
from diffworld.runtime.device import resolve_device
from diffworld.runtime.errors import UserError
from diffworld.runtime.files import without_nan
from diffworld.runtime.frames import Film
from diffworld.runtime.progress import Display
from diffworld.runtime.versions import versions
from diffworld.world import FrameStack
from research import ddpm
from research.edm_ddpm_figures import draw_comparison, draw_frames, table
from research.edm_ddpm_training import Settings, train

PROGRAM = "python -m research.edm_ddpm"
RECORD, CURVES, STRIP = "edm_ddpm.json", "edm_ddpm.png", "edm_ddpm_strip.png"


@dataclass(frozen=True)
class Options:
    """Train one network as an EDM and as a DDPM on real episodes, and compare how long their dreams stay true."""

    data: Path
    """Data set to train on."""
    held_out: Path
    """Data set of other episodes, for starts and true frames."""
    out: Path
    """Folder of checkpoints and results; the same command goes on from what is there."""
    updates: Count = 20_000
    """Updates of each network."""
    batch: Count = 8
    """Windows of an update."""
    learning_rate: Positive = 1e-3
    """AdamW's, after 100 updates of warm-up; it falls linearly to 0 over the last third of the updates."""
    channels: tuple[int, ...] = (16, 32, 32)
    """Channels of each U-Net level."""
    depths: tuple[int, ...] = (1, 1, 1)
    """Residual blocks of each level."""
    cond_channels: int = 64
    """Width of the condition vector."""
    context_frames: int = 4
    """Past frames seen, n."""
    autoregressive_steps: int = 0
    """Of EDM's training, k. Above 0 it learns from its own frames as context too, which the DDPM never does."""
    offset_noise: Amount = 0.3
    """Standard deviation of the offset noise, in both (0 for none)."""
    eta: Share = 1.0
    """Noise the DDPM's sampler adds between steps: 1 is DDPM, 0 DDIM (see research/ddpm.py)."""
    denoising_steps: tuple[Count, ...] = (1, 3, 10)
    """Denoising steps of a frame to compare."""
    starts: Count = 8
    """Dreams, side by side."""
    horizon: Count = 1000
    """Steps of each dream."""
    seed: Natural = 0
    """Of weights, windows, noise and starts."""
    device: str = "auto"
    """Where the networks run: auto, cpu, cuda or mps."""
    checkpoint_seconds: float = 30.0
    """Training is saved at least this often."""


def main(arguments: list[str] | None = None) -> int:
    """Train, dream, measure, draw; a UserError is one line and exit code 2."""
    given = sys.argv[1:] if arguments is None else arguments
    stopped = "stopped: the same command goes on from the last checkpoint"
    return command(Options, PROGRAM, lambda options: compare(options, given), given, stopped)


def compare(options: Options, arguments: list[str]) -> None:
    """The whole comparison; UserError for data or folders that cannot be used."""
    require_flip()
    if not options.denoising_steps or max(options.denoising_steps) > ddpm.TIME_STEPS:
        raise UserError(f"--denoising-steps must be numbers from 1 to {ddpm.TIME_STEPS}, such as 1,3,10")
    display, device = Display(), resolve_device(options.device)
    dataset, held_out = Dataset.open(options.data), Dataset.open(options.held_out)
    settings = _settings(options, dataset, held_out)
    rng = np.random.default_rng(options.seed)
    starts = full_starts(dataset_episodes(held_out), options.starts, options.context_frames, options.horizon, rng)
    trained = {
        kind: train(kind, settings, dataset, options.out, device, display, options.checkpoint_seconds)
        for kind in ("edm", "ddpm")
    }
    trained["ddpm"].denoiser.eta = options.eta
    training = TrainingFrames.of(dataset)
    with display.bar("colours of the training frames", "frame", len(training.rows)) as advance:
        known = KnownColours(training.chunks(advance), device)
    films: dict[str, Any] = {}
    shown: dict[str, Film] = {}

    def add(name: str, film: Film, **details: Any) -> None:
        with display.bar(f"measuring: {name}", "frame", int(starts.lengths.sum())) as advance:
            values = measure(film, starts, known, device, advance)
        films[name] = {**details, **_summary({key: by_step(v)["mean"] for key, v in values.items()}, options.horizon)}
        shown[name] = film[0].copy()

    add(REAL, starts.truth, kind="real")
    add(LAST_FRAME, last_frame_film(starts), kind="baseline")
    for kind, count in product(trained, options.denoising_steps):
        name = f"{kind.upper()}, {count} step{'s' if count > 1 else ''}"
        world = FrameStack(trained[kind].denoiser, None, SamplerConfig(denoising_steps=count))
        with display.bar(f"dreaming: {name}", "frame", int(starts.lengths.sum())) as advance:
            film = roll_out(world, starts, device, seed=options.seed, advance=advance)
        details = {"time_steps": ddpm.time_steps(count)} if kind == "ddpm" else {}
        add(name, film, kind=kind, denoising_steps=count, **details)
    record = {
        "format": 1,
        "env": dataset.spec.name,
        "command": shlex.join([*PROGRAM.split(), *arguments]),
        "versions": versions(),
        "device": device.type,
        "data": {"train": _describe(dataset), "held_out": _describe(held_out)},
        "settings": asdict(settings),
        "parameters": trained["edm"].parameters,
        "edm": {"sampler": _sampler(), "loss": trained["edm"].losses},
        "ddpm": {
            "time_steps": ddpm.TIME_STEPS,
            "betas": [ddpm.BETA_FIRST, ddpm.BETA_LAST],
            "eta": options.eta,
            "loss": trained["ddpm"].losses,
        },
        "starts": len(starts.lengths),
        "horizon": options.horizon,
        "films": films,
    }
    draw_comparison(record, options.out / CURVES)
    draw_frames({name: film for name, film in shown.items() if name != LAST_FRAME}, options.out / STRIP)
    write_compact_json(options.out / RECORD, without_nan(record))  # last: where it is, the rest is too
    for line in table(record):
        display.line(line)
    display.line(f"see {options.out / CURVES}, {STRIP} and {RECORD}")


def full_starts(
    episodes: list[RealEpisode], count: int, context_frames: int, horizon: int, rng: np.random.Generator
) -> Starts:
    """Up to `count` different places, uniform over those with a context before and `horizon` steps after them.

    Unlike `draw_starts`, every row is as long as the others: late steps are means over the same rows as early ones.
    """
    n = context_frames
    options = [
        (i, step) for i, episode in enumerate(episodes) for step in range(n - 1, len(episode.actions) - horizon + 1)
    ]
    if not options:
        longest = max((len(episode.actions) - n + 1 for episode in episodes), default=0)
        raise UserError(f"no held-out episode goes on for {horizon} steps: take --horizon {max(longest, 1)} or less")
    drawn = sorted(rng.choice(len(options), min(count, len(options)), replace=False).tolist())
    places = [options[i] for i in drawn]
    frames = np.stack([episodes[i].read_frames(step - n + 1, step + horizon + 1) for i, step in places])
    return Starts(
        context=frames[:, :n],
        actions=np.stack([episodes[i].actions[step - n + 1 : step + horizon] for i, step in places]),
        truth=frames[:, n:],
        rewards=np.stack([episodes[i].rewards[step : step + horizon] for i, step in places]),
        ends=np.stack([episodes[i].ends[step : step + horizon] for i, step in places]),
        lengths=np.full(len(places), horizon, np.int64),
        places=np.array(places, np.int64),
    )


def _sampler() -> dict[str, Any]:
    """EDM's sampler but for the number of denoising steps, which each dream has of its own."""
    return {name: value for name, value in asdict(SamplerConfig()).items() if name != "denoising_steps"}


def _summary(means: Mapping[str, list[float | None]], horizon: int) -> dict[str, Any]:
    """Means over ranges of steps: narrow ones for curves, as (steps, values), and wide ones to read."""
    curves, ranges = {}, {}
    for name, values in means.items():
        steps, numbers = pooled(values)
        curves[name] = {"steps": _rounded(steps), "values": _rounded(numbers)}
        numbers = np.array([np.nan if value is None else value for value in values])
        parts = [numbers[first - 1 : last] for first, last in step_ranges(horizon)]
        ranges[name] = _rounded([np.nanmean(part) if not np.isnan(part).all() else np.nan for part in parts])
    return {"ranges": ranges, "curves": curves}


def _rounded(numbers: Any) -> list[float]:
    """Four significant digits."""
    return [float(f"{number:.4g}") for number in numbers]


def _settings(options: Options, dataset: Dataset, held_out: Dataset) -> Settings:
    """What decides the training; UserError where it makes no sense or the two data sets do not go together."""
    check_pair(dataset, held_out)
    settings = Settings(
        updates=options.updates,
        batch=options.batch,
        learning_rate=options.learning_rate,
        channels=options.channels,
        depths=options.depths,
        cond_channels=options.cond_channels,
        context_frames=options.context_frames,
        autoregressive_steps=options.autoregressive_steps,
        offset_noise=options.offset_noise,
        seed=options.seed,
        num_actions=dataset.spec.actions.size,
        frame_height=dataset.spec.height,
        frame_width=dataset.spec.width,
        rows=dataset.num_rows,
    )
    replace(Config(), denoiser=settings.denoiser()).check()
    return settings


def _describe(dataset: Dataset) -> dict[str, Any]:
    info = dataset.schema.info
    shown = {name: info[name] for name in ("policy", "seed") if name in info}
    environment = dict(dataset.spec.presented)
    return {"episodes": dataset.num_episodes, "steps": dataset.num_steps, **shown, "environment": environment}


if __name__ == "__main__":
    sys.exit(main())
