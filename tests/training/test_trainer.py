"""Updates of any recipe's parts, and a trainer that goes on from a checkpoint as if nothing had been."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from diffworld.config import RECIPE_NETWORKS, Config
from diffworld.data.schema import FRAMES, ROWS
from diffworld.recipes import Part
from diffworld.runs import RunFolder
from diffworld.runtime.errors import UserError
from diffworld.training.trainer import Averages, Trainer
from tests.noise_data import noise_spec
from tests.tiny_training import SHOOTER, diamond_trainer, model_free_trainer, noise_of, playing, updates, world_trainer

THREE = RECIPE_NETWORKS["world"]


def assert_same(a: Any, b: Any, where: str = "") -> None:
    """Trees of tensors and plain data, equal to the last bit."""
    assert type(a) is type(b), where
    if isinstance(a, Tensor):
        assert a.dtype == b.dtype and torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_same(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for place, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{where}.{place}")
    else:
        assert a == b, where


# --- checkpoints -----------------------------------------------------------------------------------------------------

Resume = int | None
"""Rows of the replay at the checkpoint; None for a new run."""
Make = Callable[[Config, Path, Resume], AbstractContextManager[Trainer]]


def diamond(config: Config, folder: Path, rows: Resume) -> AbstractContextManager[Trainer]:
    return diamond_trainer(playing(config), folder / "replay", rows)


def diamond_centred(config: Config, folder: Path, rows: Resume) -> AbstractContextManager[Trainer]:
    return diamond(replace(config, actor_critic=replace(config.actor_critic, centre_features=True)), folder, rows)


def model_free(config: Config, folder: Path, rows: Resume) -> AbstractContextManager[Trainer]:
    game = playing(config)
    return model_free_trainer(replace(game, collection=replace(game.collection, total_steps=10_000)))


@contextmanager
def world(config: Config, folder: Path, rows: Resume) -> Iterator[Trainer]:
    data = folder.parent / "data"
    if not data.exists():
        noise_of(data, replace(noise_spec(height=12, width=12), actions=SHOOTER), [7, 12, 5, 9])
    with world_trainer(replace(updates(config), networks=THREE), data) as trainer:
        yield trainer


def work(trainer: Trainer, steps: range) -> None:
    """Steps of training by number: collection where the recipe collects, and an update of each part in turn."""
    names = [*(["collect"] if trainer.recipe.collector else []), *trainer.recipe.parts]
    for step in steps:
        name = names[step % len(names)]
        if name == "collect":
            assert trainer.recipe.collector is not None
            trainer.recipe.collector.collect(11)
        else:
            trainer.update(next(network for network in THREE if network == name))


def disturb() -> None:
    torch.manual_seed(99)
    np.random.default_rng(1).random(5)


@pytest.mark.parametrize("make", [diamond, diamond_centred, model_free, world], ids=lambda make: make.__name__)
@pytest.mark.parametrize("before", [0, 5, 8])
@pytest.mark.cases(every=6)
def test_a_restored_trainer_goes_on_bit_for_bit(small: Config, tmp_path: Path, make: Make, before: int) -> None:
    run, total = RunFolder(tmp_path / "run"), 14
    with make(small, tmp_path / "straight", None) as trainer:
        work(trainer, range(total))
        expected = trainer.checkpoint({"progress": {"epoch": 1}})
    with make(small, tmp_path / "resumed", None) as trainer:
        work(trainer, range(before))
        run.save(1, trainer.checkpoint({"progress": {"epoch": 1}}))
        work(trainer, range(before, before + 4))  # lost: the run is killed before its next checkpoint
    disturb()
    checkpoint = run.load()
    assert checkpoint is not None
    with make(small, tmp_path / "resumed", checkpoint.progress.get("replay_rows", 0)) as trainer:
        disturb()
        trainer.restore(checkpoint)
        work(trainer, range(before, total))
        found = trainer.checkpoint({"progress": {"epoch": 1}})
    assert_same(found.weights, expected.weights, "weights")
    assert_same(found.state, expected.state, "state")
    assert_same(found.progress, expected.progress, "progress")
    for name in (FRAMES, ROWS):
        if make in (diamond, diamond_centred):
            files = [tmp_path / folder / "replay" / name for folder in ("straight", "resumed")]
            assert files[0].read_bytes() == files[1].read_bytes()


def test_a_checkpoint_tells_how_far_the_run_is(small: Config, tmp_path: Path) -> None:
    with diamond_trainer(playing(small), tmp_path / "replay") as trainer:
        trainer.recipe.collector.collect(20)  # type: ignore[union-attr]
        progress = trainer.checkpoint({"progress": {"epoch": 7}}).progress
        assert progress["progress"] == {"epoch": 7} and progress["env_steps"] == 20
        dataset = trainer.given.dataset
        assert dataset is not None and progress["replay_rows"] == dataset.num_rows > 20


def test_data_that_are_not_the_runs_own_are_not_counted_in_its_checkpoint(small: Config, tmp_path: Path) -> None:
    with world(small, tmp_path / "run", None) as trainer:
        progress = trainer.checkpoint({}).progress
        assert "replay_rows" not in progress and progress["env_steps"] == 7 + 12 + 5


def test_no_checkpoint_is_written_of_a_training_that_diverged(small: Config, tmp_path: Path) -> None:
    with world(small, tmp_path / "run", None) as trainer:
        trainer.update("reward_end")
        trainer.averages.add("reward_end", {"loss": torch.tensor(float("nan"))})
        for use in (trainer.averages.means, lambda: trainer.checkpoint({})):
            with pytest.raises(
                UserError, match=r"reward_end/loss is nan: .* --reward-end-updates\.learning-rate"
            ) as error:
                use()
            assert "\n" not in str(error.value)


# --- updates ---------------------------------------------------------------------------------------------------------


def test_averages_are_means_of_each_name() -> None:
    averages = Averages()
    assert averages.means() == {}
    for value in (1.0, 2.0, 6.0):
        averages.add("denoiser", {"loss": torch.tensor(value, requires_grad=True)})
    averages.add("reward_end", {"loss": torch.tensor(5, dtype=torch.int64)})
    assert averages.means() == {"denoiser/loss": 3.0, "reward_end/loss": 5.0}


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_part_may_sum_several_batches_in_an_update(small: Config, tmp_path: Path, accumulate: int) -> None:
    with world(small, tmp_path / "run", None) as trainer:
        recipe, part = trainer.recipe, trainer.recipe.parts["reward_end"]
        drawn: list[Any] = []

        def batch() -> Any:
            drawn.append(part.batch())
            return drawn[-1]

        watched: Part = replace(part, batch=batch, updates=replace(part.updates, accumulate=accumulate))
        recipe.parts["reward_end"] = watched
        trainer = Trainer(recipe, trainer.given)
        expected = []
        with torch.no_grad():
            state = trainer.given.rng.bit_generator.state
            expected = [part.loss(part.batch())["loss"] for _ in range(accumulate)]
            trainer.given.rng.bit_generator.state = state
        trainer.update("reward_end")
        assert len(drawn) == accumulate and trainer.optimisers["reward_end"].steps == 1
        mean = torch.stack(expected).mean().item()
        assert trainer.averages.means()["reward_end/loss"] == pytest.approx(mean, rel=1e-4)


def test_an_update_in_bfloat16_keeps_weights_and_losses_in_float32(small: Config, tmp_path: Path) -> None:
    with world(small, tmp_path / "run", None) as trainer:
        coarse = Trainer(trainer.recipe, trainer.given, torch.bfloat16)
        for name in THREE:
            coarse.update(name)
        assert {tensor.dtype for tensor in coarse.networks.tensors().values()} == {torch.float32}
        assert {total.dtype for total in coarse.averages.sums.values()} == {torch.float32}
        assert all(np.isfinite(mean) for mean in coarse.averages.means().values())


def test_an_update_of_the_agent_centres_features_and_values(small: Config, tmp_path: Path) -> None:
    config = replace(small, actor_critic=replace(small.actor_critic, centre_features=True))
    with world(config, tmp_path / "run", None) as trainer:
        agent = trainer.networks.actor_critic
        assert agent is not None and not agent.feature_mean.any()
        trainer.update("actor_critic")
        means = trainer.averages.means()
        error = means["actor_critic/imagined_return"] - means["actor_critic/value"]
        step = config.actor_critic_updates.learning_rate  # Adam's, at most
        assert agent.feature_mean.any()
        assert agent.value_head.bias.item() == pytest.approx(error, abs=1.1 * step)


def test_the_same_seed_gives_the_same_networks_and_windows(small: Config, tmp_path: Path) -> None:
    found = []
    for seed in (0, 0, 1):
        with world(replace(small, seed=seed), tmp_path / "run", None) as trainer:
            work(trainer, range(3))
            found.append(trainer.checkpoint({}))
        disturb()
    assert_same(found[0].weights, found[1].weights)
    assert not torch.equal(
        found[0].weights["denoiser.network.conv_in.weight"], found[2].weights["denoiser.network.conv_in.weight"]
    )
