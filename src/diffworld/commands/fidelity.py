"""`diffworld fidelity`."""

import os
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from diffworld.commands.parsing import parse
from diffworld.runtime.errors import UserError

if TYPE_CHECKING:
    import torch

    from diffworld.config import Config
    from diffworld.evaluation.fidelity.baselines import TrainingFrames
    from diffworld.evaluation.fidelity.starts import RealEpisode
    from diffworld.evaluation.fidelity.study import Bar, Dream
    from diffworld.recipes.networks import Networks
    from diffworld.runs.folder import Checkpoint, RunFolder

PROGRAM = "diffworld fidelity"
FORMAT = 1
RECORD, CURVES, STRIP, FILM = "fidelity.json", "curves.png", "strip.png", "dream.mp4"


@dataclass(frozen=True)
class FidelityOptions:
    """Measure how faithful a run's dream stays to the real game, step by step, on games it never trained on.

    From many places in real games the dream is given the actions that were really taken, and each of its frames is
    compared with the true one: PSNR, SSIM, FLIP, drift of brightness, contrast and colours, and what the reward/end
    model makes of it. Beside it stand two baselines: the last real frame repeated, and the nearest training frame.
    Needs one checkpoint, not a finished run. docs/fidelity.md explains every number.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """The run folder."""
    horizon: int = 500
    """Steps of a dream. Rows whose game ends before stop counting there: every curve says how many are left."""
    starts: int = 32
    """Places in real games that dreams start from."""
    denoising_steps: str = ""
    """Numbers of denoising steps to compare, such as 1,2,3,5,10 (default: the run's own)."""
    policy: Literal["agent", "random"] = "agent"
    """Who plays the held-out games: the run's agent, or uniformly random actions."""
    episodes: int = 8
    """Held-out games to play (test games of the run; together at most 20,000 steps, or one dream's length each)."""
    cross_lives: bool = False
    """Let windows go on where a life was lost. Training never saw that step: a life lost ended its episode."""
    data: Path | None = None
    """Take held-out episodes from this data set instead, such as RUN/held_out; nothing is played then."""
    training_data: Path | None = None
    """Data set of training frames, for a run that has lost its own."""
    nearest_among: int = 20_000
    """Training frames (evenly spaced) among which the nearest one is looked for."""
    seed: int = 0
    """Seed of starts, of the policy's draws and of the noise."""
    device: str = "auto"
    """Where the networks run: auto, cpu, cuda or mps."""
    precision: Literal["run", "auto", "float32", "bfloat16"] = "run"
    """Number format of the networks' arithmetic (default: as in the run's training)."""
    out: Path | None = None
    """Folder for fidelity.json, curves.png, strip.png and dream.mp4 (default: RUN/fidelity)."""


def main(arguments: list[str]) -> int:
    """Measure a run and write what was found; Ctrl-C writes nothing."""
    options = parse(FidelityOptions, PROGRAM, arguments)
    try:
        fidelity(options)
    except KeyboardInterrupt:
        print("stopped: nothing was written; the same command begins anew", file=sys.stderr)
        return 130
    return 0


def fidelity(options: FidelityOptions) -> None:
    """Gather, measure, draw, print; UserError for options or a run that cannot be used."""
    import numpy as np

    from diffworld.evaluation.fidelity.figures import draw_curves, draw_strip, write_film
    from diffworld.evaluation.fidelity.frame_metrics import require_flip
    from diffworld.evaluation.fidelity.starts import draw_starts
    from diffworld.evaluation.fidelity.study import LAST_FRAME, NEAREST_FRAME, study_dreams
    from diffworld.runs.folder import RunFolder, versions
    from diffworld.runtime.device import resolve_device, resolve_precision
    from diffworld.runtime.files import without_nan, write_json
    from diffworld.runtime.progress import Display

    counts = _check(options)
    run, display = RunFolder(options.run), Display()
    config = run.config()
    if config.model_free:
        raise UserError(f"{run.path} is a model-free run: it has no dream; give a run trained without --model-free")
    require_flip()
    out = options.out or run.path / "fidelity"
    check_writable(out)
    device = resolve_device(options.device)
    dtype = resolve_precision(config.precision if options.precision == "run" else options.precision, device)
    checkpoint = run.load()
    if checkpoint is None:
        raise UserError(f"{run.path} has no checkpoint yet: train it first (diffworld train)")
    networks = _networks(config, checkpoint, device)
    training = _training_frames(options, run, config, checkpoint)
    if training is None:
        display.line("note: the run has no training frames: no nearest-frame baseline, no share of unseen colours")
    episodes = _held_out(options, config, networks, display.bar)
    n = config.denoiser.context_frames
    starts = draw_starts(episodes, options.starts, n, options.horizon, np.random.default_rng(options.seed))
    if starts.lengths[0] < options.horizon:
        display.line(f"note: the longest stretch of held-out game has {starts.lengths[0]} steps: curves end there")
    study = study_dreams(
        _dreams(config, networks, counts),
        starts,
        networks.reward_end,
        training,
        device=device,
        dtype=dtype,
        seed=options.seed,
        nearest_among=options.nearest_among,
        bar=display.bar,
    )
    record = {
        "format": FORMAT,
        "env": config.env,
        "run": run.path.resolve().name,
        "checkpoint": int(run.checkpoints()[-1].name),
        "held_out": _held_out_record(options, len(episodes)),
        "seed": options.seed,
        "device": device.type,
        "precision": str(dtype).removeprefix("torch."),
        "sampler": asdict(config.sampler),
        "versions": versions(),
        **study.record,
    }
    draw_curves(record, out / CURVES)
    shown = {name: film for name, film in study.shown.items() if name not in (LAST_FRAME, NEAREST_FRAME)}
    draw_strip(shown, out / STRIP)
    write_film(shown, out / FILM)
    write_json(out / RECORD, without_nan(record))  # last: where it is, the rest is too
    for line in summary_lines(record):
        display.line(line)
    display.line(f"see {out / CURVES}, {STRIP}, {FILM} and {RECORD}")


def check_writable(folder: Path) -> None:
    """UserError now rather than after hours, if files cannot be written to a folder that may not be there yet."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise UserError(f"cannot write to {folder}: choose another --out")


def _check(options: FidelityOptions) -> list[int]:
    """The numbers of denoising steps to compare; UserError for options that make no sense."""
    for name in ("horizon", "starts", "episodes", "nearest_among"):
        if getattr(options, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} is {getattr(options, name)}; it must be at least 1")
    if options.seed < 0:
        raise UserError(f"--seed is {options.seed}; it must be at least 0")
    if not options.denoising_steps:
        return []
    counts = options.denoising_steps.split(",")
    if not all(count.strip().isascii() and count.strip().isdigit() and int(count) > 0 for count in counts):
        raise UserError(f"--denoising-steps is '{options.denoising_steps}': give numbers with commas, such as 1,3,10")
    return list(dict.fromkeys(int(count) for count in counts))


def _networks(config: "Config", checkpoint: "Checkpoint", device: "torch.device") -> "Networks":
    """The networks of a checkpoint; it knows the number of actions, so no game is needed."""
    from diffworld.config import PARTS
    from diffworld.recipes.networks import build_networks

    table = checkpoint.weights.get("denoiser.network.action_embedding.weight")
    if table is None:
        raise UserError("the run's denoiser has no table of actions: it is not one that an agent can dream with")
    networks = build_networks(config, len(table), device)
    networks.load(checkpoint.weights, PARTS)
    for _, network in networks.items():
        network.eval()
    return networks


def _training_frames(
    options: FidelityOptions, run: "RunFolder", config: "Config", checkpoint: "Checkpoint"
) -> "TrainingFrames | None":
    """What the run had learnt from by its last checkpoint; None if there is nothing left of it."""
    from diffworld.data import Dataset
    from diffworld.data.schema import DESCRIPTION
    from diffworld.evaluation.fidelity.baselines import TrainingFrames

    num_rows = None
    path = options.training_data or (Path(config.data) if config.data else run.replay)
    if path == run.replay:
        num_rows = checkpoint.progress.get("replay_rows")
    if options.training_data is None and not (path / DESCRIPTION).is_file():
        return None
    dataset = Dataset.open(path, num_rows=num_rows)
    _check_size(path, dataset.format.frame_shape, config)
    if options.data is not None and options.data.resolve() == path.resolve():
        raise UserError(f"{options.data} is what the run learnt from: give --data that it never saw, or leave it out")
    return TrainingFrames.of(dataset) if dataset.num_rows else None


def _held_out(options: FidelityOptions, config: "Config", networks: "Networks", bar: "Bar") -> "list[RealEpisode]":
    """Episodes to measure on: from --data, or played now in test games, whose seeds training never uses."""
    from diffworld.data import Dataset
    from diffworld.evaluation.fidelity.starts import RECORDED_STEPS, dataset_episodes, record_episodes

    if options.data is not None:
        dataset = Dataset.open(options.data)
        _check_size(options.data, dataset.format.frame_shape, config)
        actions = networks.denoiser.network.num_actions
        if dataset.format.num_actions != actions:
            raise UserError(f"{options.data} has other actions than the run, which has {actions}: give its own game's")
        return dataset_episodes(dataset)
    window = config.denoiser.context_frames + options.horizon
    steps = max(window, RECORDED_STEPS // options.episodes)
    with bar(f"playing: {options.policy}", "game", options.episodes) as advance:
        return record_episodes(
            config,
            networks.actor_critic if options.policy == "agent" else None,
            options.episodes,
            steps,
            cross_lives=options.cross_lives,
            policy_seed=options.seed,
            on_episode=lambda _: advance(1),
        )


def _check_size(path: Path, shape: tuple[int, ...], config: "Config") -> None:
    height, width = config.environment.height, config.environment.width
    if shape[:2] != (height, width):
        raise UserError(f"{path} has frames of {shape[0]}x{shape[1]}, the run of {height}x{width}: give others")


def _dreams(config: "Config", networks: "Networks", counts: list[int]) -> "dict[str, Dream]":
    """A dream for each number of denoising steps, or with the run's own number."""
    from diffworld.evaluation.fidelity.rollouts import denoiser_frames
    from diffworld.evaluation.fidelity.study import Dream

    dreams = {}
    for count in counts or [config.sampler.denoising_steps]:
        name = f"dream, {count} denoising step{'s' if count > 1 else ''}"
        sampler = replace(config.sampler, denoising_steps=count)
        dreams[name] = Dream(denoiser_frames(networks.denoiser, sampler), {"denoising_steps": count})
    return dreams


def _held_out_record(options: FidelityOptions, episodes: int) -> dict[str, Any]:
    """Where the real episodes came from. No path: a run folder may be moved."""
    if options.data is not None:
        return {"source": "data set", "name": options.data.resolve().name, "episodes": episodes}
    return {
        "source": "test games",
        "policy": options.policy,
        "games": options.episodes,
        "episodes": episodes,
        "cross_lives": options.cross_lives,
    }


def summary_lines(record: dict[str, Any]) -> list[str]:
    """A record's frame measures at a few steps, and speeds, as a table of text."""
    horizon, flip_at = record["horizon"], record["measures"]["flip"]["steps"]
    steps = sorted({1, *(step for step in (10, 100) if step < horizon), horizon})
    near = [min(flip_at, key=lambda measured: abs(measured - step)) for step in steps]
    names = [name for name, film in record["films"].items() if film["kind"] != "real"]
    width = max(len(name) for name in names)
    columns = [f"{'step ' + str(step):>21}" for step in steps]
    lines = [
        f"{record['env']}: PSNR (dB) / SSIM / FLIP over {record['starts']} starts",
        " " * (width + 2) + "".join(columns) + "   frames/s  (one row)",
        f"  {'rows to compare with':{width}}" + "".join(f"{record['rows'][step - 1]:>21}" for step in steps),
    ]
    for name in names:
        film = record["films"][name]
        psnr, ssim, flip = (film["by_step"][measured]["mean"] for measured in ("psnr", "ssim", "flip"))
        cells = [
            f"{psnr[step - 1]:.1f} / {ssim[step - 1]:.2f} / {flip[seen - 1]:.2f}"
            for step, seen in zip(steps, near, strict=True)
        ]
        speed = film.get("frames_per_second")
        speeds = "" if speed is None else f"{speed['all_rows']:>11.4g}  {speed['one_row']:.4g}"
        lines.append(f"  {name:{width}}" + "".join(f"{cell:>21}" for cell in cells) + speeds)
    return lines
