"""AdamW as every network uses it: warm-up, summed micro-batches, clipping, decay where it belongs."""

import copy
import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from diffworld.config import Config, UpdateConfig
from diffworld.game import ActionSpace, GameSpec
from diffworld.recipes.networks import build_networks
from diffworld.training.optimiser import Optimiser, descend, split_parameters

PLAIN = UpdateConfig(0, 0, learning_rate=0.01, weight_decay=0.0, clip=1e9, warmup=0)


class Small(nn.Module):
    """One of each kind of parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 4)
        self.linear = nn.Linear(4, 4)
        self.norm = nn.GroupNorm(2, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.linear(self.embedding(x)))


def module(seed: int = 0) -> Small:
    torch.manual_seed(seed)
    small = Small()
    with torch.no_grad():
        for parameter in small.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return small


def loss_of(small: nn.Module, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(5, (8,), generator=generator)
    return (small(x) - torch.randn(8, 4, generator=generator)).square().mean()


def losses_in_turn(small: nn.Module, first: int = 0) -> Callable[[], dict[str, Tensor]]:
    seeds = iter(range(first, 1000))
    return descend(lambda: {"loss": loss_of(small, next(seeds))})


def weights(small: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in small.parameters()]


def gradient_norm(loss: Tensor, small: nn.Module) -> float:
    return torch.stack([g.norm() for g in torch.autograd.grad(loss, list(small.parameters()))]).norm().item()


def test_learning_rate_warms_up_from_0() -> None:
    small = module()
    optimiser = Optimiser(small, UpdateConfig(0, 0, learning_rate=0.1, weight_decay=0.5, warmup=4))
    before = weights(small)
    rates = []
    for update in range(7):
        optimiser.update(losses_in_turn(small, update))
        rates.append(optimiser.adamw.param_groups[0]["lr"])
        if update == 0:
            assert all(torch.equal(a, b) for a, b in zip(before, weights(small), strict=True))
    assert rates == pytest.approx([0, 0.025, 0.05, 0.075, 0.1, 0.1, 0.1])
    assert optimiser.steps == 7
    assert not torch.equal(before[0], weights(small)[0])


def test_without_warm_up_the_first_update_counts() -> None:
    small = module()
    optimiser = Optimiser(small, PLAIN)
    before = weights(small)
    optimiser.update(losses_in_turn(small))
    assert optimiser.adamw.param_groups[0]["lr"] == 0.01
    # Adam's first step is the learning rate itself, in the gradient's direction, but where that is tiny
    moved = (weights(small)[1] - before[1]).abs()
    assert moved.max().item() == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("accumulate", [2, 3])
def test_micro_batches_are_summed(accumulate: int) -> None:
    one, many = module(), module()
    for update in range(3):
        seeds = [update * accumulate + i for i in range(accumulate)]
        expected = torch.stack([loss_of(one, seed) for seed in seeds])
        norm = gradient_norm(expected.sum(), one)
        Optimiser(one, PLAIN).update(descend(lambda seeds=seeds: {"loss": sum(loss_of(one, seed) for seed in seeds)}))
        optimiser = Optimiser(many, replace(PLAIN, accumulate=accumulate))
        logged = optimiser.update(losses_in_turn(many, seeds[0]))
        assert logged["grad_norm"].item() == pytest.approx(norm, rel=1e-4), "of the sum, not of the mean"
        torch.testing.assert_close(logged["loss"], expected.mean().detach())
        for a, b in zip(weights(one), weights(many), strict=True):
            torch.testing.assert_close(a, b)


def test_smaller_batches_and_more_of_them_make_the_same_update() -> None:
    """Sums grow with the number of batches, so the clip must; AdamW does not ask how large gradients are."""
    torch.manual_seed(0)
    whole = nn.Sequential(nn.Linear(3, 5), nn.SiLU(), nn.Linear(5, 2))
    split = copy.deepcopy(whole)
    config = replace(PLAIN, clip=0.05)
    first = Optimiser(whole, config)
    second = Optimiser(split, replace(config, accumulate=4, clip=4 * config.clip))
    for _ in range(3):
        x, batches = torch.randn(8, 3), list[Tensor]()
        first.update(descend(lambda x=x: {"loss": (whole(x) - 1).square().mean()}))
        batches += x.split(2)
        logged = second.update(descend(lambda left=batches: {"loss": (split(left.pop()) - 1).square().mean()}))
        assert logged["grad_norm"] > second.config.clip
        for a, b in zip(weights(whole), weights(split), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


class Replays:
    """In place of a recording: what it would run, counted."""

    plain = False

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.calls, self.recordings = function, 0, {0: 0}

    def __call__(self, rate: Tensor) -> Any:
        self.calls += 1
        return self.function(rate)


def test_a_recorded_step_is_the_plain_one_where_gradients_lie_where_they_lay() -> None:
    plain, recorded = module(), module()
    config = UpdateConfig(0, 0, learning_rate=0.01, weight_decay=0.1, warmup=4, clip=0.5)
    places = [torch.zeros_like(parameter) for parameter in recorded.parameters()]

    def replayed(seed: int) -> dict[str, Tensor]:
        """Leaves gradients in the same tensors each time, as the replay of a recording does."""
        found = torch.autograd.grad(loss := loss_of(recorded, seed), list(recorded.parameters()))
        for parameter, place, gradient in zip(recorded.parameters(), places, found, strict=True):
            parameter.grad = place.copy_(gradient)
        return {"loss": loss.detach()}

    def update(seed: int) -> None:
        optimiser.update(lambda: replayed(seed))

    reference, optimiser = Optimiser(plain, config), Optimiser(recorded, config)
    replays = Replays(optimiser._apply)
    optimiser.record(Replays(lambda: None))  # type: ignore[arg-type]
    optimiser._graphed = replays  # type: ignore[assignment]
    for seed, calls in enumerate((0, 1, 2, 3)):
        update(seed)
        assert replays.calls == calls, "the first one makes AdamW's state"
        reference.update(losses_in_turn(plain, seed))
    for a, b in zip(weights(plain), weights(recorded), strict=True):
        torch.testing.assert_close(a, b)
    for group in optimiser.state_dict()["adamw"]["param_groups"]:
        assert (group["lr"], group["capturable"]) == (pytest.approx(0.0075), False), "as plain ones save it"
    places[0] = places[0].clone()
    update(4)
    assert replays.calls == 3 and not replays.recordings, "what was recorded reads other places"
    update(5)
    assert replays.calls == 4
    optimiser.load_state_dict(optimiser.state_dict())
    update(6)
    assert replays.calls == 4, "moments lie elsewhere"


def test_gradients_do_not_add_up_over_updates() -> None:
    small = module()
    optimiser = Optimiser(small, PLAIN)
    for seed in range(3):
        norm = gradient_norm(loss_of(small, seed), small)
        assert optimiser.update(losses_in_turn(small, seed))["grad_norm"].item() == pytest.approx(norm, rel=1e-4)
    assert all(parameter.grad is None for parameter in small.parameters())


@pytest.mark.parametrize("clip", [0.01, 1e6])
def test_clipping(clip: float) -> None:
    small = module()
    norm = gradient_norm(loss_of(small, 0), small)
    optimiser = Optimiser(small, replace(PLAIN, clip=clip))
    logged = optimiser.update(losses_in_turn(small))
    assert logged["grad_norm"].item() == pytest.approx(norm, rel=1e-4), "logged as it was"
    averages = [state["exp_avg"].norm() for state in optimiser.adamw.state.values()]
    used = torch.stack(averages).norm().item() / (1 - 0.9)
    assert used == pytest.approx(min(norm, clip), rel=1e-3)


def test_decay_is_only_on_weights() -> None:
    small = module()
    decay, rest = split_parameters(small)
    assert [id(p) for p in decay] == [id(small.linear.weight)]
    assert len(rest) == 4
    optimiser = Optimiser(small, UpdateConfig(0, 0, learning_rate=0.1, weight_decay=0.5, warmup=0))
    before = {name: value.clone() for name, value in small.state_dict().items()}
    optimiser.update(descend(lambda: {"loss": 0 * loss_of(small, 0)}))
    for name, value in small.state_dict().items():
        shrunk = 1 - 0.1 * 0.5 if name == "linear.weight" else 1
        torch.testing.assert_close(value, before[name] * shrunk, msg=name)


def test_decay_in_the_real_networks() -> None:
    with torch.device("meta"):
        spec = GameSpec("", 64, 64, ActionSpace.discrete(4))
        networks = build_networks(Config(), spec, torch.device("meta"))
    for _, network in networks.items():
        decay, rest = (set(map(id, group)) for group in split_parameters(network))
        assert not decay & rest
        for name, parameter in network.named_parameters():
            spared = name.split(".")[-1].startswith("bias") or ("norm" in name and "linear" not in name)
            spared |= "action_embedding" in name
            assert (id(parameter) in rest) == spared, name
            assert (id(parameter) in decay) != spared, name


def test_settings_of_adamw() -> None:
    optimiser = Optimiser(module(), UpdateConfig(0, 0, learning_rate=3e-4, weight_decay=0.02))
    for group, decay in zip(optimiser.adamw.param_groups, [0.02, 0.0], strict=True):
        assert (group["eps"], group["betas"], group["weight_decay"]) == (1e-8, (0.9, 0.999), decay)


def test_a_saved_state_goes_on_bit_for_bit() -> None:
    config = UpdateConfig(0, 0, learning_rate=0.05, weight_decay=0.1, warmup=6, accumulate=2)
    straight = module()
    optimiser = Optimiser(straight, config)
    for update in range(8):
        optimiser.update(losses_in_turn(straight, 2 * update))

    first = module()
    optimiser = Optimiser(first, config)
    for update in range(4):
        optimiser.update(losses_in_turn(first, 2 * update))
    file = io.BytesIO()
    torch.save({"module": first.state_dict(), "optimiser": optimiser.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    second = module(seed=9)
    second.load_state_dict(saved["module"])
    optimiser = Optimiser(second, config)
    optimiser.load_state_dict(saved["optimiser"])
    assert optimiser.steps == 4
    for update in range(4, 8):
        optimiser.update(losses_in_turn(second, 2 * update))
    assert all(torch.equal(a, b) for a, b in zip(weights(straight), weights(second), strict=True))
