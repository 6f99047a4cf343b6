"""What each recipe is made of: its parts and phases, what each part learns from, and what it leaves alone."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from diffworld.agents.rollout import act
from diffworld.config import RECIPE_NETWORKS, CollectionConfig, Config, NetworkName
from diffworld.data import Dataset, every_tenth
from diffworld.evaluation.held_out import HeldOutWindows
from diffworld.game import ActionSpace, GameSpec
from diffworld.recipes import COLLECT, TEST, Diamond, ModelFree, Networks, Shooter, World
from diffworld.recipes.diamond import ENOUGH_REWARDS
from diffworld.training.trainer import Trainer
from diffworld.world import TwoStages
from tests.tiny_training import (
    SHOOTER,
    diamond_trainer,
    model_free_trainer,
    noise_of,
    playing,
    shooter_trainer,
    updates,
    world_trainer,
)

THREE = RECIPE_NETWORKS["world"]

MOST_OPERATIONS = 1200
"""That a step of dreaming and acting may take, with networks of two levels."""
NOISE = GameSpec("noise", 12, 12, ActionSpace.discrete(3))


def weights(networks: Networks) -> dict[str, dict[str, Tensor]]:
    return {name: {k: v.clone() for k, v in module.state_dict().items()} for name, module in networks.items()}


def changed(before: dict[str, dict[str, Tensor]], networks: Networks) -> set[str]:
    """Networks of which anything is not as it was."""
    after = weights(networks)
    return {name for name in before if any(not torch.equal(v, after[name][k]) for k, v in before[name].items())}


def assert_each_part_changes_its_own_network_alone(trainer: Trainer, names: tuple[NetworkName, ...]) -> None:
    assert tuple(trainer.recipe.parts) == tuple(trainer.optimisers) == names
    for name in names:
        assert trainer.recipe.parts[name].network is getattr(trainer.networks, name)
        before = weights(trainer.networks)
        trainer.update(name)
        assert changed(before, trainer.networks) == {name}
        assert all(p.grad is None for _, module in trainer.networks.items() for p in module.parameters())
    means = trainer.averages.means()
    assert {key.split("/")[0] for key in means} == set(names)
    assert {f"{name}/{what}" for name in names for what in ("loss", "grad_norm")} <= means.keys()


# --- parts and phases ------------------------------------------------------------------------------------------------


def test_diamond(small: Config, tmp_path: Path) -> None:
    with diamond_trainer(playing(small), tmp_path / "replay") as trainer:
        recipe = trainer.recipe
        assert isinstance(recipe, Diamond)
        assert recipe.phases == (COLLECT, "denoiser", "reward_end", "actor_critic", TEST)
        assert recipe.world is not None and recipe.held_out is None and recipe.final_epochs == 1
        assert (recipe.env_steps, recipe.steps_left, recipe.exhausted) == (0, 60, False)
        assert recipe.collector is not None
        recipe.collector.collect(40)
        assert (recipe.env_steps, recipe.steps_left) == (40, 20)
        assert_each_part_changes_its_own_network_alone(trainer, THREE)
        assert recipe.env_steps == 40, "dreams cost no real steps"


@pytest.mark.parametrize(
    ("named", "known", "expected"),
    [
        ((), True, ("denoiser", "reward_end")),
        ((), False, ("denoiser",)),
        (THREE, True, THREE),
        (("denoiser",), True, ("denoiser",)),
    ],
)
def test_world(
    small: Config, tmp_path: Path, named: tuple[NetworkName, ...], known: bool, expected: tuple[NetworkName, ...]
) -> None:
    data = noise_of(tmp_path / "data", replace(NOISE, rewards=known, ends=known), [9, 5, 12])
    with world_trainer(replace(updates(small), networks=named, epochs=7), data) as trainer:
        recipe = trainer.recipe
        assert isinstance(recipe, World)
        assert recipe.phases == (*expected, TEST)
        assert recipe.collector is None and recipe.final_epochs == 7 and recipe.steps_left == 0
        assert recipe.held_out is not None and recipe.held_out.tolist() == [False, False, True]
        assert recipe.env_steps == 14, "steps that are held out are not learnt from"
        assert recipe.world is not None and recipe.world.denoiser is recipe.networks.denoiser
        assert recipe.world.reward_end is recipe.networks.reward_end
        assert_each_part_changes_its_own_network_alone(trainer, expected)


@pytest.mark.parametrize("ended", [True, False])
def test_a_world_of_keys_and_choices(small: Config, tmp_path: Path, ended: bool) -> None:
    """Every network learns from recordings of any action space; its agent plays keys and choices."""
    data = noise_of(tmp_path / "data", replace(NOISE, actions=SHOOTER), [9, 30, 12], ended)
    with world_trainer(replace(updates(small), networks=THREE), data) as trainer:
        assert_each_part_changes_its_own_network_alone(trainer, THREE)
        agent = trainer.recipe.agent  # type: ignore[attr-defined]
        assert agent.state.world.dream.actions.shape == (2, small.denoiser.context_frames, 6)
        for action in agent.state.world.dream.actions.flatten(0, 1)[:-1].numpy():
            assert not (action[0] and action[1]), "keys that exclude each other"


@pytest.mark.parametrize("named", [(), ("denoiser", "upsampler", "reward_end")])
def test_shooter(small: Config, tmp_path: Path, named: tuple[NetworkName, ...]) -> None:
    data = noise_of(tmp_path / "data", replace(NOISE, actions=SHOOTER), [9, 5, 12])
    config = updates(replace(small, networks=named, epochs=7), accumulate=2)
    with shooter_trainer(config, data) as trainer:
        recipe, names = trainer.recipe, named or ("denoiser", "upsampler")
        assert isinstance(recipe, Shooter) and isinstance(recipe.world, TwoStages)
        assert recipe.phases == (*names, TEST) and recipe.final_epochs == 7 and recipe.steps_left == 0
        assert recipe.held_out is not None and recipe.held_out.tolist() == [False, False, True]
        assert recipe.env_steps == 14, "steps that are held out are not learnt from"
        assert recipe.networks.denoiser is recipe.world.low.denoiser and recipe.networks.upsampler is not None
        assert recipe.networks.denoiser.conditioning.noise_context
        assert not recipe.networks.upsampler.conditioning.noise_context
        for name in names[:2]:
            lesson, batch = recipe.world.lessons[name], recipe.parts[name].batch()
            assert batch.frames.shape == (2, lesson.length, 3, 12, 12), "both stages draw large frames"
        assert_each_part_changes_its_own_network_alone(trainer, names)
        held_out = HeldOutWindows(recipe.dataset, config.reward_end.window, recipe.held_out).losses(recipe.world)
        assert {name for name in names if f"{name}/held_out_loss" in held_out} == set(names)


def test_model_free(small: Config) -> None:
    config = playing(small, recipe="model_free")
    with model_free_trainer(config) as trainer:
        recipe = trainer.recipe
        assert isinstance(recipe, ModelFree)
        assert recipe.phases == ("actor_critic", TEST)
        assert recipe.world is None and recipe.collector is None and recipe.held_out is None
        assert_each_part_changes_its_own_network_alone(trainer, ("actor_critic",))
        assert recipe.env_steps == 2 * config.horizon, "one update is so many steps of every game"
        finished: list[float] = []
        while not recipe.exhausted:
            trainer.update("actor_critic")
            finished += recipe.take_finished()
        assert recipe.env_steps == 60 and recipe.steps_left == 0
        assert len(finished) == 2 * (30 // 9) and set(finished) <= {-1.0, 0.0, 1.0}, "games of nine steps"
        assert recipe.take_finished() == []


# --- what is drawn ---------------------------------------------------------------------------------------------------

LIGHT, DARK = 255, 60


def marked_data(path: Path, lengths: list[int], light: Callable[[int, bool], bool]) -> Path:
    """Ended episodes of frames that are dark, but light where `light(episode, final)` says so."""
    with Dataset.create(path, NOISE) as dataset:
        for number, length in enumerate(lengths):
            episode = dataset.new_episode()
            frames = [np.full(NOISE.frame_shape, LIGHT if light(number, final) else DARK, np.uint8) for final in (0, 1)]
            for t in range(length):
                last = t == length - 1
                dataset.append(episode, frames[0], t % 3, 0.0, last, False, frames[1] if last else None)
    return path


def drawn_frames(trainer: Trainer, name: NetworkName, batches: int = 60) -> Tensor:
    """(count, L, 3, H, W) frames of that many batches of a part, or of as many starts of dreams for the agent."""
    recipe: Any = trainer.recipe
    if name == "actor_critic":
        return torch.cat([recipe.agent.world.draw_starts(2)[0] for _ in range(batches)])
    return torch.cat([recipe.parts[name].batch().frames for _ in range(batches)])


def light_columns(frames: Tensor) -> Tensor:
    """(L,) how often each place of a window is light."""
    return (frames == 1).all(dim=(2, 3, 4)).float().mean(0)  # type: ignore[call-overload]


def test_episodes_that_are_held_out_are_never_drawn(small: Config, tmp_path: Path) -> None:
    lengths = [3 + i % 5 for i in range(16)]
    held_out = every_tenth(16)
    data = marked_data(tmp_path / "data", lengths, lambda episode, final: bool(held_out[episode]))
    with world_trainer(replace(small, networks=THREE), data) as trainer:
        assert held_out.sum() == 2
        for name in THREE:
            frames = drawn_frames(trainer, name)
            assert not light_columns(frames).any(), name
            assert (frames != 0).any()


@contextmanager
def of_data(config: Config, data: Path) -> Iterator[Trainer]:
    with world_trainer(replace(config, networks=THREE), data) as trainer:
        yield trainer


@contextmanager
def of_replay(config: Config, data: Path) -> Iterator[Trainer]:
    game = playing(config)
    with Dataset.open(data) as dataset:
        rows = dataset.num_rows
    with diamond_trainer(game, data, rows) as trainer:
        yield trainer


Make = Callable[[Config, Path], AbstractContextManager[Trainer]]


@pytest.mark.parametrize("make", [of_data, of_replay], ids=["world", "diamond"])
@pytest.mark.parametrize("final_frames", [True, False])
def test_final_frames_are_learnt_but_no_dream_starts_in_one(
    small: Config, tmp_path: Path, make: Make, final_frames: bool
) -> None:
    config = replace(small, denoiser=replace(small.denoiser, final_frames=final_frames))
    data = marked_data(tmp_path / "data", [6] * 4, lambda episode, final: final)
    with make(config, data) as trainer:
        denoiser = light_columns(drawn_frames(trainer, "denoiser"))
        assert len(denoiser) == config.denoiser.context_frames + 1 + config.denoiser.autoregressive_steps
        assert not denoiser[:-1].any(), "a final frame is the last of its window"
        assert bool(denoiser[-1] > 0.2) == final_frames
        assert light_columns(drawn_frames(trainer, "reward_end")).any(), "an end is told from it"
        starts = drawn_frames(trainer, "actor_critic")
        assert starts.shape[1] == config.denoiser.context_frames
        assert not light_columns(starts).any()
        assert (starts[:, -1] != 0).all(), "a dream starts in a real frame"


def test_a_final_frame_counts_in_the_denoisers_loss(small: Config, tmp_path: Path) -> None:
    data = marked_data(tmp_path / "data", [6] * 4, lambda episode, final: final)
    with world_trainer(replace(small, networks=("denoiser",)), data) as trainer:
        part = trainer.recipe.parts["denoiser"]
        batches = [part.batch() for _ in range(40)]
        last = torch.cat([batch.frames[:, -1] for batch in batches])
        mask = torch.cat([batch.mask[:, -1] for batch in batches])
        final = (last == 1).all(dim=(1, 2, 3))  # type: ignore[call-overload]
        assert final.any() and mask.all()


# --- how much is collected -------------------------------------------------------------------------------------------


def collected(config: Config, folder: Path, rewards: Callable[[int], float], epochs: int = 1) -> list[int]:
    """Steps of each epoch's collection, as the loop takes them, where step number t pays `rewards(t)`."""
    done_in = []
    with diamond_trainer(config, folder) as trainer:
        recipe = trainer.recipe
        assert isinstance(recipe, Diamond)
        episode = recipe.dataset.new_episode()
        frame = np.zeros(recipe.given.spec.frame_shape, np.uint8)
        for epoch in range(1, epochs + 1):
            done = 0
            while (wanted := recipe.steps_wanted(epoch, done)) > done:
                for _ in range(min(100, wanted - done)):
                    recipe.dataset.append(episode, frame, 0, rewards(recipe.env_steps), False, False)
                    done += 1
            done_in.append(done)
    return done_in


def collecting(config: Config, **changes: int) -> Config:
    game = playing(config)
    return replace(game, collection=replace(CollectionConfig(), **changes))  # type: ignore[arg-type]


def test_the_first_collection_goes_on_until_there_is_something_to_learn(small: Config, tmp_path: Path) -> None:
    config = collecting(small, total_steps=2000, first_steps=300, steps_per_epoch=50)
    assert collected(config, tmp_path / "rich", lambda t: float(t % 20 == 0), 3) == [300, 50, 50]
    assert collected(config, tmp_path / "late", lambda t: float(t > 420), 3) == [500, 50, 50]
    assert collected(config, tmp_path / "poor", lambda t: 0.0, 3) == [600, 50, 50]
    assert collected(config, tmp_path / "dear", lambda t: -1.0, 3) == [600, 50, 50], "none stands out"
    assert collected(config, tmp_path / "both", lambda t: 1.0 if t < 295 else -2.0, 2) == [400, 50]


def test_no_collection_goes_past_the_total(small: Config, tmp_path: Path) -> None:
    config = collecting(small, total_steps=450, first_steps=300, steps_per_epoch=50)
    assert collected(config, tmp_path / "poor", lambda t: 0.0, 3) == [450, 0, 0]
    assert collected(config, tmp_path / "rich", lambda t: float(t % 20 == 0), 5) == [300, 50, 50, 50, 0]
    less = collecting(small, total_steps=120, first_steps=300, steps_per_epoch=50)
    assert collected(less, tmp_path / "less", lambda t: 0.0, 2) == [120, 0]


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 400), st.integers(1, 300), st.integers(1, 90), st.floats(0, 0.2), st.integers(0, 99))
def test_what_any_first_collection_takes(
    small: Config,
    tmp_path_factory: pytest.TempPathFactory,
    total: int,
    first: int,
    later: int,
    odds: float,
    seed: int,
) -> None:
    draws = np.random.default_rng(seed).random(2 * total + 2 * first)
    config = collecting(small, total_steps=total, first_steps=first, steps_per_epoch=later)
    done = collected(config, tmp_path_factory.mktemp("replay") / "data", lambda t: float(draws[t] < odds), 2)
    assert done[0] <= total and done[0] <= 2 * first
    assert done[0] >= min(first, total)
    rewarded = int((draws[: done[0]] < odds).sum())
    enough = min(rewarded, done[0] - rewarded) >= ENOUGH_REWARDS
    if not enough:
        assert done[0] == min(2 * first, total), "no reason to stop before"
    elif done[0] > first:
        before = int((draws[: done[0] - min(100, done[0] - first)] < odds).sum())
        assert min(before, done[0] - before) < ENOUGH_REWARDS, "nor to go on"
    assert done[1] == min(later, total - done[0])


class Operations(TorchDispatchMode):
    """Names of the operations that torch runs."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("space", [ActionSpace.discrete(3), SHOOTER], ids=["choice", "keys"])
def test_acting_in_dreams_is_the_same_operations_whatever_happens(
    small: Config, tmp_path: Path, space: ActionSpace
) -> None:
    """So that all of it can be one CUDA graph: nothing looks at a value, and no row that ends is listed."""
    data = noise_of(tmp_path / "data", replace(NOISE, actions=space), [30, 30])
    with world_trainer(replace(small, networks=THREE), data) as trainer:
        agent = trainer.recipe.agent  # type: ignore[attr-defined]
        trainer.update("actor_critic")
        counted = {}
        for steps in (2, 4, 6):
            with Operations() as seen:
                act(agent.actor_critic, agent.world, agent.state, steps)
            counted[steps] = seen.names
    for name in counted[6]:
        assert not any(word in name for word in ("_local_scalar_dense", "nonzero", "item", "unique")), name
    assert len(counted[6]) - len(counted[4]) == len(counted[4]) - len(counted[2]) <= 2 * MOST_OPERATIONS
