"""`diffworld fidelity`."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import tyro
from numpy.typing import NDArray

from diffworld.commands.parsing import demo_named, parse_checked, until_stopped
from diffworld.data import Dataset, held_out_episodes
from diffworld.evaluation.fidelity.figures import draw_curves, draw_strip, write_film
from diffworld.evaluation.fidelity.films import TrainingFrames
from diffworld.evaluation.fidelity.frame_metrics import require_flip
from diffworld.evaluation.fidelity.reward_end import Judge
from diffworld.evaluation.fidelity.starts import (
    RECORDED_STEPS,
    RealEpisode,
    dataset_episodes,
    draw_starts,
    record_episodes,
)
from diffworld.evaluation.fidelity.study import (
    NEXT_PLACES,
    Bar,
    sampled_dreams,
    study_dreams,
    study_next_frames,
    summary_lines,
)
from diffworld.evaluation.games import TestGames
from diffworld.evaluation.obedience import Obedience, by_step_lines, comparisons, draw_by_step, obedience_by_step
from diffworld.game import GameSpec
from diffworld.runs import Model
from diffworld.runs.loading import is_packed, load
from diffworld.runtime.checked import Count, Natural
from diffworld.runtime.device import resolve_precision, use_threads
from diffworld.runtime.errors import UserError
from diffworld.runtime.files import check_writable, without_nan, write_json
from diffworld.runtime.progress import Display
from diffworld.runtime.versions import versions

FORMAT = 1
RECORD, CURVES, STRIP, FILM, OBEDIENCE = "fidelity.json", "curves.png", "strip.png", "dream.mp4", "obedience.png"


@dataclass(frozen=True)
class FidelityOptions:
    """Measure how faithful a run's dream stays to the real game, step by step, on games it never trained on.

    From many places in real games the dream is given the actions that were really taken, and each of its frames is
    compared with the true one: PSNR, SSIM, FLIP, drift of brightness, contrast and colours, and what the reward/end
    model makes of it. Beside it stand two baselines: the last real frame repeated, and the nearest training frame; of
    a world of two stages also what the upsampler, and plain enlarging, make of the true small frames. The next frame
    after true ones is measured alone, at more places. A run on a data set is measured on the episodes that it held
    out; it needs no game, and is asked whether it obeys its actions. Needs one checkpoint, not a finished run. For a
    first look: --horizon 50 --starts 8 --episodes 2.
    docs/fidelity.md explains every number.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """The run folder; or demo (or --demo), the model that comes with the package."""
    horizon: Count = 500
    """Steps of a dream. Rows whose game ends before stop counting there: every curve says how many are left."""
    starts: Count = 32
    """Places in real games that dreams start from."""
    denoising_steps: str = ""
    """Numbers of denoising steps to compare, such as 1,2,3,5,10 (default: the run's own)."""
    policy: Literal["agent", "random"] = "agent"
    """Who plays the held-out games: the run's agent, or uniformly random actions."""
    episodes: Count = 8
    """Held-out games to play (test games of the run; together at most 20,000 steps, or one dream's length each)."""
    cross_lives: bool = False
    """Let windows go on where a life was lost. Training never saw that step: a life lost ended its episode."""
    data: Path | None = None
    """Take held-out episodes from this data set instead, such as RUN/held_out; nothing is played then."""
    training_data: Path | None = None
    """Data set of training frames, for a run that has lost its own."""
    nearest_among: Count = 20_000
    """Training frames (evenly spaced) among which the nearest one is looked for."""
    seed: Natural = 0
    """Seed of starts, of the policy's draws and of the noise."""
    device: str = "auto"
    """Where the networks run: auto, cpu, cuda or mps."""
    precision: Literal["run", "auto", "float32", "bfloat16"] = "run"
    """Number format of the networks' arithmetic (default: as in the run's training)."""
    out: Path | None = None
    """Folder for fidelity.json, curves.png, strip.png, dream.mp4 and perhaps obedience.png (default: RUN/fidelity; of
    demo, demo-fidelity)."""


def main(arguments: list[str]) -> int:
    """Measure a run and write what was found; Ctrl-C writes nothing."""
    options = parse_checked(FidelityOptions, "diffworld fidelity", demo_named(arguments))
    return until_stopped(lambda: fidelity(options), "nothing was written; the same command begins anew")


def fidelity(options: FidelityOptions) -> None:
    """Gather, measure, draw, print; UserError for options or a run that cannot be used."""
    counts, display = _denoising_steps(options.denoising_steps), Display()
    require_flip()
    own = Path(f"{options.run.stem}-fidelity") if is_packed(options.run) else options.run / "fidelity"
    out = options.out or own
    check_writable(out)
    model = load(options.run, options.device)
    world, config = model.require_world(), model.config
    use_threads(model.threads)
    dtype = resolve_precision(config.precision if options.precision == "run" else options.precision, model.device)
    training = _training_frames(options, model)
    if training is None:
        display.line("note: the run has no training frames: no nearest-frame baseline, no share of unseen colours")
    held_out = _held_out(options, model, display.bar)
    rng = np.random.default_rng(options.seed)
    starts = draw_starts(held_out.episodes, options.starts, world.context_frames, options.horizon, rng)
    if starts.lengths[0] < options.horizon:
        display.line(f"note: the longest stretch of held-out game has {starts.lengths[0]} steps: curves end there")
    places = draw_starts(held_out.episodes, NEXT_PLACES, world.context_frames, 1, rng)
    dreams = sampled_dreams(world, counts or [world.samplers[0].denoising_steps], dtype)
    alone = study_next_frames(dreams, places, device=model.device, seed=options.seed, bar=display.bar)
    obeyed = _obedience(model, dtype, held_out, display)
    study = study_dreams(
        dreams,
        starts,
        None if world.reward_end is None else Judge(world.reward_end, world.seen),
        training,
        device=model.device,
        dtype=dtype,
        seed=options.seed,
        nearest_among=options.nearest_among,
        bar=display.bar,
    )
    record = {
        "format": FORMAT,
        "env": model.spec.name,
        "run": model.title,
        "checkpoint": int(model.progress.get("saves", 0)),
        "held_out": held_out.source,
        "seed": options.seed,
        "device": model.device.type,
        "precision": str(dtype).removeprefix("torch."),
        "sampler": asdict(world.samplers[0]),
        **({"upsampler_sampler": asdict(world.samplers[1])} if len(world.samplers) > 1 else {}),
        "versions": versions(),
        **study.record,
        "next_frame": alone,
        **({"obedience": [{"after": step, **found.to_json()} for step, found in obeyed.items()]} if obeyed else {}),
    }
    try:
        _write(out, record, study.shown, obeyed)
    finally:  # whatever becomes of the files, the dreams took long
        for line in [*summary_lines(record), *by_step_lines(obeyed)]:
            display.line(line)
    display.line(f"see {out / CURVES}, {STRIP}, {FILM}{', ' + OBEDIENCE if obeyed else ''} and {RECORD}")


def _obedience(model: Model, dtype: torch.dtype, held_out: "_HeldOut", display: Display) -> dict[int, Obedience]:
    """Whether the dream follows its actions, by step; nothing where no data set says, or no action can be judged."""
    if held_out.dataset is None:
        return {}
    world = model.require_world().frames_alone(dtype)
    try:
        with display.bar("obedience", "pair", comparisons(held_out.dataset.spec.actions)) as advance:
            return obedience_by_step(world, held_out.dataset, held_out.among, model.device, advance)
    except UserError as error:
        display.line(f"note: whether it obeys is not measured: {error}")
        return {}


def _write(out: Path, record: dict[str, Any], films: dict[str, Any], obeyed: dict[int, Obedience]) -> None:
    draw_curves(record, out / CURVES)
    shown = {name: film for name, film in films.items() if record["films"][name]["kind"] != "baseline"}
    draw_strip(shown, out / STRIP)
    write_film(shown, out / FILM)
    if obeyed:
        draw_by_step(obeyed, out / OBEDIENCE, "Does the dream obey?")
    write_json(out / RECORD, without_nan(record))  # last: where it is, the rest is too


def _denoising_steps(text: str) -> list[int]:
    """The numbers of denoising steps to compare; UserError for anything but numbers with commas."""
    counts = [count.strip() for count in text.split(",")] if text else []
    if not all(count.isascii() and count.isdigit() and int(count) > 0 for count in counts):
        raise UserError(f"--denoising-steps is '{text}': give numbers with commas, such as 1,3,10")
    return list(dict.fromkeys(map(int, counts)))


def _training_frames(options: FidelityOptions, model: Model) -> TrainingFrames | None:
    """What the run had learnt from by its last checkpoint; None if there is nothing left of it."""
    data, replay = model.datasets.get("data"), model.datasets.get("replay")
    path = options.training_data or data or replay
    if path is None:
        return None
    if options.data is not None and options.data.resolve() == path.resolve():
        raise UserError(f"{options.data} is what the run learnt from: give --data that it never saw, or leave it out")
    dataset = Dataset.open(path, num_rows=model.progress.get("replay_rows") if path == replay else None)
    _check_fits(dataset, model.spec)
    own = path == data and _holds_out(model)
    among = ~held_out_episodes(dataset.episodes) if own else None
    return TrainingFrames.of(dataset, among) if dataset.num_rows else None


def _holds_out(model: Model) -> bool:
    """Whether the run set episodes of its data aside; the version before, which kept no env_steps, did not."""
    return "data" in model.datasets and "env_steps" in model.progress


@dataclass(frozen=True)
class _HeldOut:
    """Episodes to measure on, and where they are from; the record has no path, as a run folder may be moved."""

    episodes: list[RealEpisode]
    source: dict[str, Any]
    dataset: Dataset | None = None
    """Where a data set holds them ..."""
    among: NDArray[np.bool_] | None = None
    """... and which (E,) of its episodes they are, or all."""


def _held_out(options: FidelityOptions, model: Model, bar: Bar) -> _HeldOut:
    """Data that was not learnt from, or test games played now."""
    if options.data is not None or _holds_out(model):
        path = options.data or model.datasets["data"]
        dataset = Dataset.open(path)
        _check_fits(dataset, model.spec)
        own = options.data is None
        among = held_out_episodes(dataset.episodes) if own else None
        episodes = dataset_episodes(dataset, among)
        kind = "held-out episodes of the run's data" if own else "data set"
        source = {"source": kind, "name": path.resolve().name, "episodes": len(episodes)}
        return _HeldOut(episodes, source, dataset, among)
    if model.no_game:
        raise UserError(f"{model.no_game}: give --data with episodes that the run never saw")
    actor_critic = model.require_policy() if options.policy == "agent" else None
    e = model.config.evaluation
    steps = max(model.require_world().context_frames + options.horizon, RECORDED_STEPS // options.episodes)
    with bar(f"playing: {options.policy}", "game", options.episodes) as advance:
        episodes = record_episodes(
            TestGames(model.spec, model.config.seed, e.num_envs, e.temperature),
            actor_critic,
            options.episodes,
            steps,
            cross_lives=options.cross_lives,
            policy_seed=options.seed,
            on_episode=lambda _: advance(1),
        )
    played = {"policy": options.policy, "games": options.episodes, "cross_lives": options.cross_lives}
    return _HeldOut(episodes, {"source": "test games", **played, "episodes": len(episodes)})


def _check_fits(dataset: Dataset, spec: GameSpec) -> None:
    """UserError for data of another frame size or other actions."""
    path, own = dataset.path, dataset.spec
    if own.frame_size != spec.frame_size:
        sizes = f"frames of {own.height}x{own.width}, the run of {spec.height}x{spec.width}"
        raise UserError(f"{path} has {sizes}: give others")
    if (own.actions.size, own.actions.is_discrete) != (spec.actions.size, spec.actions.is_discrete):
        raise UserError(f"{path} has other actions than the run, which has {spec.actions.size}: give its own game's")
