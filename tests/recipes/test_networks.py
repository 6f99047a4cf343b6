"""The networks of a run: which of them, their sizes, and weights taken in part or refused."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from diffworld.config import OF_DATA, RECIPE_NETWORKS, Config, NetworkName, preset
from diffworld.game import ActionSpace, Choice, GameSpec, Keys
from diffworld.models.actor_critic import ActorCriticConfig
from diffworld.recipes.networks import Networks, build_networks, network_names
from diffworld.runtime.errors import UserError

THREE = RECIPE_NETWORKS["world"]

CPU = torch.device("cpu")
SIX = GameSpec("atari/Game", 32, 32, ActionSpace.discrete(6))


def networks(config: Config | None = None, seed: int = 0) -> Networks:
    torch.manual_seed(seed)
    return build_networks(config or preset("demo"), SIX, CPU)


def test_paper_size() -> None:
    with torch.device("meta"):
        spec = GameSpec("atari/Breakout", 64, 64, ActionSpace.discrete(4))
        counts = build_networks(preset("atari100k"), spec, torch.device("meta")).parameter_counts()
    assert counts == {"denoiser": 4_405_955, "reward_end": 5_900_864, "actor_critic": 3_229_637}


def test_only_the_networks_asked_for_are_loaded() -> None:
    source, target = networks(seed=1), networks(seed=2)
    before = {name: tensor.clone() for name, tensor in target.tensors().items()}
    target.load(source.tensors(), ("denoiser", "actor_critic"))
    for name, tensor in target.tensors().items():
        wanted = before[name] if name.startswith("reward_end.") else source.tensors()[name]
        assert torch.equal(tensor, wanted), name
    assert any(not torch.equal(tensor, before[name]) for name, tensor in target.tensors().items())


def test_weights_of_other_networks_are_refused_in_one_line() -> None:
    wider = replace(preset("demo"), denoiser=replace(preset("demo").denoiser, channels=(16, 32)))
    with pytest.raises(UserError, match="weights of the denoiser do not fit") as error:
        networks(wider).load(networks().tensors(), ("denoiser",))
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="weights of the actor_critic do not fit"):
        networks().load({}, ("actor_critic",))


def config(recipe: str, *names: NetworkName) -> Config:
    upsampler = replace(preset("demo").upsampler, factor=4)
    return replace(
        preset("demo"), upsampler=upsampler, recipe=recipe, data="data" if recipe in OF_DATA else "", networks=names
    )  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("recipe", "named", "known", "expected"),
    [
        ("diamond", (), (True, True), THREE),
        ("model_free", (), (True, True), ("actor_critic",)),
        ("world", (), (True, True), ("denoiser", "reward_end")),
        ("world", (), (True, False), ("denoiser", "reward_end")),
        ("world", (), (False, True), ("denoiser", "reward_end")),
        ("world", (), (False, False), ("denoiser",)),
        ("world", ("denoiser",), (True, True), ("denoiser",)),
        ("world", ("denoiser",), (False, False), ("denoiser",)),
        ("world", ("reward_end", "denoiser"), (True, True), ("denoiser", "reward_end")),
        ("shooter", (), (True, True), ("denoiser", "upsampler")),
        ("shooter", (), (False, False), ("denoiser", "upsampler")),
        ("shooter", ("reward_end", "upsampler", "denoiser"), (True, True), ("denoiser", "upsampler", "reward_end")),
        ("world", ("actor_critic", "reward_end", "denoiser"), (True, True), THREE),
    ],
)
def test_which_networks_a_recipe_trains(
    recipe: str, named: tuple[NetworkName, ...], known: tuple[bool, bool], expected: tuple[str, ...]
) -> None:
    spec = replace(SIX, rewards=known[0], ends=known[1])
    assert network_names(recipe, named, spec) == expected
    built = build_networks(config(recipe, *named), spec, CPU)
    assert tuple(name for name, _ in built.items()) == expected
    assert {name.split(".")[0] for name in built.tensors()} == set(expected) == built.parameter_counts().keys()


@pytest.mark.parametrize(
    ("recipe", "named", "known", "message"),
    [
        ("diamond", ("denoiser",), (True, True), "recipe diamond knows what it trains"),
        ("model_free", ("actor_critic",), (True, True), "recipe model_free knows what it trains"),
        ("world", ("reward_end",), (True, True), "needs its denoiser"),
        ("world", ("denoiser", "reward_end"), (False, False), "neither rewards nor ends"),
        ("world", ("denoiser", "actor_critic"), (True, True), "dreams that pay and end"),
        ("world", ("denoiser", "upsampler"), (True, True), "recipe world trains no upsampler"),
        ("shooter", ("denoiser",), (True, True), "recipe shooter needs its upsampler"),
        ("shooter", ("denoiser", "upsampler", "actor_critic"), (True, True), "recipe shooter trains no actor_critic"),
        ("shooter", ("denoiser", "upsampler", "reward_end"), (False, False), "neither rewards nor ends"),
    ],
)
def test_networks_that_a_recipe_has_no_use_for(
    recipe: str, named: tuple[NetworkName, ...], known: tuple[bool, bool], message: str
) -> None:
    with pytest.raises(UserError, match=message) as error:
        network_names(recipe, named, replace(SIX, rewards=known[0], ends=known[1]))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "actions",
    [
        ActionSpace.discrete(3),
        ActionSpace((Keys(("w", "space")),)),
        ActionSpace((Keys(("w", "space")), Choice("mouse", ("-1", "0", "1")))),
    ],
)
def test_networks_of_any_actions_and_frames(actions: ActionSpace) -> None:
    small = replace(
        preset("demo"),
        actor_critic=ActorCriticConfig(8, (8,), (True,)),
        recipe="world",
        data="x",
        networks=THREE,
    )
    built: Any = build_networks(small, GameSpec("", 20, 12, actions), CPU)
    assert built.denoiser.network.action_embedding.num_embeddings == actions.size
    assert built.reward_end.action_embedding.num_embeddings == actions.size
    assert built.actor_critic.actions == actions
    logits, _, _ = built.actor_critic(torch.zeros(1, 3, 20, 12), built.actor_critic.zero_state(1))
    assert logits.shape == (1, actions.size)
