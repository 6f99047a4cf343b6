"""What a run would be, in about ten lines: game or data, networks, memory, and time from a little of each phase."""

import resource
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
import torch

from diffworld.config import Config, EvaluationConfig, NetworkName
from diffworld.data import Dataset, GameStep, held_out_episodes
from diffworld.envs import EpisodeResult
from diffworld.evaluation.games import TestGames
from diffworld.evaluation.held_out import BATCH, BATCHES
from diffworld.game import GameSpec
from diffworld.recipes import COLLECT, TEST, build_networks
from diffworld.runtime.device import missing_cuda, resolve_compile, resolve_threads, use_threads
from diffworld.runtime.errors import UserError
from diffworld.runtime.memory import in_words, memory_limit
from diffworld.runtime.progress import duration, rate
from diffworld.training.footprint import CONTEXT, Rehearsal, Way, way_on_a_gpu
from diffworld.training.memory import check_memory
from diffworld.training.run import header, make_trainer, open_source, size_note
from diffworld.training.shapes import META
from diffworld.training.trainer import Trainer

MEASURED_SECONDS = 10.0
"""At most about so long is measured of each phase."""
LONG_UPDATE = 60.0
"""Seconds. An update that takes longer on a CPU is told by what one row of it takes."""
ROUNDS = 10
"""Steps of all games that are measured at once."""


@dataclass(frozen=True)
class Cost:
    """What a phase takes, over all epochs."""

    phase: str
    count: int
    unit: str
    each: float
    """Seconds of one."""
    at_least: bool = False
    """Whether each takes longer than that."""

    @property
    def seconds(self) -> float:
        """Of all."""
        return self.count * self.each


def dry_run(config: Config, preset: str = "") -> None:
    """Print it all; nothing is written where the run would be. UserError where a GPU has too little memory.

    With `--device cuda` on a machine without a GPU, what a run would take of one is said, and nothing is timed.
    """
    config.check()
    use_threads(resolve_threads(config.small))
    here = not missing_cuda(config.device)
    with ExitStack() as resources:
        env, data = open_source(config if here else replace(config, device="cpu"), resources, new=here)
        spec = (env or data).spec  # type: ignore[union-attr]
        source = _of_game(spec) if data is None else _of_data(data)
        steps = config.collection.total_steps if env is not None else 0
        if not here:
            print(source)
            _foretell(Rehearsal(config, spec, way_on_a_gpu(config.precision, config.compile)), steps)
            return
        if config.recipe == "diamond":
            folder = resources.enter_context(tempfile.TemporaryDirectory())
            data = resources.enter_context(_grey_data(spec, Path(folder)))
        trainer = make_trainer(config, spec, data, env)
        counts = trainer.networks.parameter_counts()
        print(header(trainer, config.recipe, preset))
        if trainer.device.type == "cuda":
            way = Way("cuda", trainer.dtype, config.compile != "off")
            _check_gpu(Rehearsal(config, spec, way), torch.cuda.mem_get_info(trainer.device)[1])
        print(source)
        if note := size_note(config.recipe, config.factor, spec):
            print(note)
        print(_of_networks(counts))
        print("measuring a few updates of each, and some steps of the game ...", flush=True)
        compiles = resolve_compile(config.compile, trainer.device)
        costs = [*_collection(trainer, steps), *_updates(trainer, config.total_epochs, steps, compiles)]
        games = None if env is None else TestGames(spec, config.seed, config.evaluation.num_envs)
        costs += _tests(trainer, games, config.evaluation, config.total_epochs, costs)
    _print_costs(costs, config.total_epochs)
    least, taken = check_memory(config, spec, trainer.device), _most_memory(trainer.device)
    said = f"at least {in_words(least)} are needed, {in_words(taken)} were taken for this, and {memory_limit()}"
    print(_line("memory", said))
    print(_of_disk(spec, steps if config.recipe == "diamond" else 0, sum(counts.values())))


def _foretell(rehearsal: Rehearsal, steps: int) -> None:
    """What can be said of a run on a GPU that is not here, which takes so many real steps."""
    with META:
        counts = build_networks(rehearsal.config, rehearsal.spec, META).parameter_counts()
    print(_of_networks(counts))
    print(_line("GPU memory", f"{rehearsal.footprint} ({rehearsal.way})"))
    print(_of_disk(rehearsal.spec, steps if rehearsal.config.recipe == "diamond" else 0, sum(counts.values())))
    print("no GPU is here: nothing was timed")


def _check_gpu(rehearsal: Rehearsal, total: int) -> None:
    """Print what a run takes of a GPU of so many bytes; UserError, with settings that fit, where it takes more."""
    found, has = rehearsal.footprint, f"this GPU has {in_words(total)}"
    print(_line("GPU memory", f"{found} ({rehearsal.way}); {has}"))
    if settings := rehearsal.fitting(total - CONTEXT):
        raise UserError(f"this takes {found}, and {has}: give {settings} (smaller batches, more of them)")


def _of_networks(counts: Mapping[NetworkName, int]) -> str:
    return _line("networks", ", ".join(f"{name} {count:,} parameters" for name, count in counts.items()))


def _of_disk(spec: GameSpec, replay: int, parameters: int) -> str:
    """What a run writes: a replay of so many steps, where it has one, and checkpoints."""
    saved = f"a checkpoint {in_words(12 * parameters)}"  # weights and AdamW's two moments
    of_replay = f"replay {in_words(replay * (3 * spec.height * spec.width + 17))}, " if replay else ""
    return _line("disk", of_replay + saved)


def _print_costs(costs: Sequence[Cost], epochs: int) -> None:
    for cost in costs:
        about = "more than " if cost.at_least else ""
        speed = rate(1 / cost.each, cost.unit)
        print(_line(cost.phase, f"{cost.count:,} {cost.unit}s, {speed}: {about}{duration(cost.seconds)}"))
    about = "more than" if any(cost.at_least for cost in costs) else "about"
    print(_line("together", f"{about} {duration(sum(cost.seconds for cost in costs))} for {epochs} epochs"))


def _line(name: str, text: str) -> str:
    return f"{name:13} {text}"


def _of_game(spec: GameSpec) -> str:
    """The game, which could be opened."""
    shape = f"frames of {spec.height}x{spec.width}, {spec.actions.size} actions"
    return _line("game", f"{shape}, {spec.steps_per_second:g} steps a second for people")


def _of_data(data: Dataset) -> str:
    """The data, and what of it is held out."""
    lengths, held_out = data.episodes.lengths, held_out_episodes(data.episodes)
    counts = f"{lengths.sum():,} steps in {len(lengths):,} episodes"
    return _line("data", f"{data.path}: {counts}; held out: {held_out.sum():,} with {lengths[held_out].sum():,} steps")


def _grey_data(spec: GameSpec, folder: Path) -> Dataset:
    """A little data of the right shape: the time of an update does not depend on what it shows."""
    dataset = Dataset.create(folder / "data", spec)
    episode, rng = dataset.new_episode(), np.random.default_rng(0)
    for _ in range(64):
        frame = rng.integers(0, 256, spec.frame_shape, dtype=np.uint8)
        dataset.append(episode, frame, spec.actions.idle, 0.0, False, False)
    return dataset


def _seconds(work: Callable[[], object], compiles: bool = False) -> float:
    """Median time of some work, after a first time that warms up, unless that took long already.

    Work that compiles is done once before, which counts for nothing.
    """
    if compiles:
        work()
    start = time.perf_counter()
    work()
    if (first := time.perf_counter() - start) > MEASURED_SECONDS:
        return first
    times: list[float] = []
    while sum(times) < MEASURED_SECONDS and len(times) < 10:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return median(times)


def _collection(trainer: Trainer, steps: int) -> list[Cost]:
    """Real steps, where a phase of their own takes them."""
    if (collector := trainer.recipe.collector) is None:
        return []
    at_once = ROUNDS * collector.driver.env.num_envs
    return [Cost(COLLECT, steps, "step", _seconds(lambda: collector.collect(at_once)) / at_once)]


def _updates(trainer: Trainer, epochs: int, steps: int, compiles: bool) -> list[Cost]:
    """Updates of each network; those that take real steps themselves end with the `steps` there are."""
    costs = []
    for name, part in trainer.recipe.parts.items():
        before, done = trainer.recipe.env_steps, trainer.optimisers[name].steps
        each = _seconds_an_update(trainer, name, compiles)
        count = part.updates.first_steps + (epochs - 1) * part.updates.steps
        if taken := trainer.recipe.env_steps - before:
            count = min(count, -(-steps * (trainer.optimisers[name].steps - done) // taken))
        costs.append(Cost(name, count, "update", each))
    return costs


def _seconds_an_update(trainer: Trainer, name: NetworkName, compiles: bool) -> float:
    """How long an update of a network takes, once it is compiled."""
    part, gradients = trainer.recipe.parts[name], trainer.gradients[name]
    if trainer.device.type == "cpu" and (batch := part.batch()):
        row = [tensor[:1] for tensor in batch]

        def learn() -> None:
            gradients(*row)
            part.network.zero_grad(set_to_none=True)

        together = part.updates.accumulate * part.updates.batch_size * _seconds(learn)
        if together > LONG_UPDATE:
            return together

    def update() -> None:
        trainer.update(name)
        trainer.averages.means()  # waits for the device

    return _seconds(update, compiles)


def _tests(
    trainer: Trainer, games: TestGames | None, settings: EvaluationConfig, epochs: int, costs: Sequence[Cost]
) -> list[Cost]:
    """Test games of the agent and at random, and losses on what was held out, after so many epochs and at the end."""
    tests = 1 + (epochs // settings.every_epochs if settings.every_epochs else 0)
    losses = 0.0  # forward alone, about a third of an update
    for cost in costs:
        if cost.phase in trainer.recipe.parts and cost.phase != "actor_critic":
            part = trainer.recipe.parts[cost.phase]
            losses += cost.each / (part.updates.accumulate * part.updates.batch_size) * BATCH * BATCHES / 3
    if games is None:
        return [Cost(TEST, tests, "test", losses)]
    # At the end the agent, random play, and two players who do not look.
    count = (tests - 1) * settings.episodes + 4 * settings.final_episodes
    each, at_least = _seconds_a_game(games, trainer, settings.final_episodes)
    return [Cost(TEST, count, "game", each + losses * tests / count, at_least)]


def _seconds_a_game(games: TestGames, trainer: Trainer, most: int) -> tuple[float, bool]:
    """Seconds a test game, and whether that is only how long none was over."""
    together, over = min(games.num_envs, most), list[EpisodeResult]()
    start = time.perf_counter()

    def enough(_: GameStep) -> None:
        if time.perf_counter() - start > MEASURED_SECONDS:
            raise TimeoutError

    with suppress(TimeoutError):
        games.play(trainer.networks.actor_critic, together, on_episode=over.append, on_step=enough)
    return (time.perf_counter() - start) / (len(over) or together), not over


def _most_memory(device: torch.device) -> int:
    """The most bytes that this process, or its work on a GPU, ever took."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
