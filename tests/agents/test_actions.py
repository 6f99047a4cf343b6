"""Policies over an action space: every formula against the sum over all actions that there are."""

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from diffworld.agents.actions import draw_actions, entropy, log_prob, probabilities, random_actions
from diffworld.game import ActionSpace, Choice, Keys

MOUSE = Choice("mouse", ("-1", "0", "1"))
FREE = ActionSpace((Keys(("a", "b")), MOUSE, Choice("gear", ("up", "down"))))
SPACES = {
    "choices": ActionSpace((MOUSE, Choice("gear", ("up", "down")))),
    "keys": ActionSpace((Keys(("a", "b", "c")),)),
    "keys and choices": FREE,
    "one pair": ActionSpace((Keys(("a", "b", "c"), (("a", "c"),)), MOUSE)),
    "two pairs": ActionSpace((MOUSE, Keys(("left", "right", "up", "down"), (("left", "right"), ("down", "up"))))),
    "a chain": ActionSpace((Keys(("a", "b", "c"), (("a", "b"), ("b", "c"))),)),
    "all of three": ActionSpace((Keys(("a", "b", "c"), (("b", "c"), ("c", "a"), ("a", "b"))),)),
}
space_names = pytest.mark.parametrize("name", SPACES)


def every_action(space: ActionSpace) -> Tensor:
    """(count, A) each allowed action once."""
    pieces = [
        torch.eye(part.size, dtype=torch.uint8).tolist()
        if isinstance(part, Choice)
        else [
            bits
            for bits in product((0, 1), repeat=part.size)
            if not any(bits[first] and bits[second] for first, second in part.conflicts)
        ]
        for part in space.parts
    ]
    return torch.tensor([[bit for piece in each for bit in piece] for each in product(*pieces)], dtype=torch.uint8)


def logits_of(space: ActionSpace, seed: int = 0) -> Tensor:
    return torch.randn(space.size, generator=torch.Generator().manual_seed(seed)) * 1.5


# --- one choice ------------------------------------------------------------------------------------------------------


def test_one_choice_is_the_plain_softmax_bit_for_bit() -> None:
    space, logits = ActionSpace.discrete(5), torch.randn(4, 7, 5) * 3
    actions = torch.randint(5, (4, 7))
    log_probs = logits.log_softmax(-1)
    assert torch.equal(log_prob(space, logits, actions), log_probs.gather(-1, actions[..., None]).squeeze(-1))
    assert torch.equal(entropy(space, logits), -(log_probs.exp() * log_probs).sum(-1))
    assert torch.equal(probabilities(space, logits), logits.softmax(-1))
    for temperature in (1.0, 0.5):
        generator, other = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
        drawn = draw_actions(space, logits[0], temperature, generator)
        plain = torch.multinomial((logits[0] / temperature).softmax(-1), 1, generator=other).squeeze(1)
        assert torch.equal(drawn, plain) and drawn.dtype == torch.int64 and drawn.shape == (7,)
    assert torch.equal(draw_actions(space, logits[0], 0), logits[0].argmax(-1))
    uniform = random_actions(space, 30, torch.device("cpu"), torch.Generator().manual_seed(3))
    assert torch.equal(uniform, torch.randint(5, (30,), generator=torch.Generator().manual_seed(3)))


def test_drawn_actions_follow_the_logits() -> None:
    space, p = ActionSpace.discrete(3), torch.tensor([0.1, 0.2, 0.7])
    drawn = draw_actions(space, p.log().expand(20_000, 3))
    assert (drawn.bincount() / 20_000).tolist() == pytest.approx(p.tolist(), abs=0.015)
    sharper = draw_actions(space, p.log().expand(20_000, 3), temperature=0.5)
    squared = p.square() / p.square().sum()
    assert (sharper.bincount() / 20_000).tolist() == pytest.approx(squared.tolist(), abs=0.015)
    assert draw_actions(space, p.log().expand(5, 3), temperature=0).tolist() == [2] * 5


# --- keys and choices ------------------------------------------------------------------------------------------------


@st.composite
def spaces(draw: st.DrawFn) -> ActionSpace:
    """Small spaces of up to three parts, keys with any pairs that exclude each other."""
    parts: list[Choice | Keys] = []
    for place in range(draw(st.integers(1, 3))):
        names = tuple(f"{place}{i}" for i in range(draw(st.integers(1, 3))))
        pairs = st.tuples(st.sampled_from(names), st.sampled_from(names)).filter(lambda pair: pair[0] != pair[1])
        if draw(st.booleans()):
            parts.append(Keys(names, tuple(draw(st.lists(pairs, max_size=3))) if len(names) > 1 else ()))
        else:
            parts.append(Choice(str(place), names))
    return ActionSpace(tuple(parts)) if len(parts) > 1 or isinstance(parts[0], Keys) else ActionSpace((*parts, MOUSE))


@settings(max_examples=60)
@given(spaces(), st.integers(0, 999))
def test_probabilities_of_all_actions_sum_to_1(space: ActionSpace, seed: int) -> None:
    actions = every_action(space)
    logits = logits_of(space, seed).expand(len(actions), -1)
    total = log_prob(space, logits, actions).exp().sum().item()
    assert total == pytest.approx(1, abs=1e-5)


@space_names
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_draws_are_as_often_as_their_probability_says(name: str, temperature: float) -> None:
    space, count = SPACES[name], 20_000
    actions, logits = every_action(space), logits_of(space)
    drawn = draw_actions(space, logits.expand(count, -1), temperature)
    assert drawn.shape == (count, space.size) and drawn.dtype == torch.uint8
    found = (drawn[:, None] == actions).all(-1)
    assert found.any(1).all(), "nothing but allowed actions is drawn"
    shares = found.float().mean(0)
    expected = log_prob(space, (logits / temperature).expand(len(actions), -1), actions).exp()
    torch.testing.assert_close(shares, expected, atol=0.015, rtol=0)


@settings(max_examples=60)
@given(spaces(), st.sampled_from([0.0, 0.3, 1.0, 4.0]), st.integers(0, 999))
def test_every_draw_is_of_the_space(space: ActionSpace, temperature: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(40, space.size, generator=generator) * 2 + 1
    drawn = draw_actions(space, logits, temperature, generator)
    for action in drawn.numpy():
        assert (space.encode(space.decode(action)) == action).all(), "no two keys that exclude each other"
    again = torch.Generator().manual_seed(seed)
    torch.randn(40, space.size, generator=again)
    assert torch.equal(draw_actions(space, logits, temperature, again), drawn)


@space_names
def test_temperature_0_takes_the_likeliest_value_of_each_part(name: str) -> None:
    space, logits = SPACES[name], torch.randn(50, SPACES[name].size)
    best = draw_actions(space, logits, temperature=0)
    for row in range(50):
        pieces = logits[row].split([part.size for part in space.parts])
        values = [
            int(piece.argmax()) if isinstance(part, Choice) else (piece > 0).numpy()
            for part, piece in zip(space.parts, pieces, strict=True)
        ]
        assert (space.encode(values) == best[row].numpy()).all()
    if all(isinstance(part, Choice) or not part.exclusive for part in space.parts):
        actions = every_action(space)
        for row in range(50):
            chances = log_prob(space, logits[row].expand(len(actions), -1), actions)
            assert torch.equal(best[row], actions[chances.argmax()])


def test_entropy_is_that_of_all_actions_where_none_are_excluded() -> None:
    for space in (SPACES["choices"], SPACES["keys"], FREE):
        actions = every_action(space)
        for seed in range(5):
            chances = log_prob(space, logits_of(space, seed).expand(len(actions), -1), actions)
            enumerated = -(chances.exp() * chances).sum().item()
            assert entropy(space, logits_of(space, seed)).item() == pytest.approx(enumerated, rel=1e-4)


def test_probabilities_are_marginals() -> None:
    actions, logits = every_action(FREE), logits_of(FREE)
    chances = log_prob(FREE, logits.expand(len(actions), -1), actions).exp()
    torch.testing.assert_close(probabilities(FREE, logits), (chances[:, None] * actions).sum(0))


def test_extreme_logits_give_finite_losses() -> None:
    for space in SPACES.values():
        logits = torch.where(torch.arange(space.size) % 2 == 0, 200.0, -200.0).expand(6, -1).clone().requires_grad_()
        actions = every_action(space)[:6]
        chances = log_prob(space, logits[: len(actions)], actions)
        (chances.sum() + entropy(space, logits).sum()).backward()
        assert chances.isfinite().all() and logits.grad is not None and logits.grad.isfinite().all()


def test_a_key_that_was_not_free_teaches_nothing() -> None:
    """Where an earlier key is down the later one could not be: its logit has no part in what happened."""
    space = ActionSpace((Keys(("w", "s"), (("w", "s"),)),))
    logits = torch.tensor([[0.3, -0.2], [0.3, -0.2]], requires_grad=True)
    log_prob(space, logits, torch.tensor([[1, 0], [0, 1]], dtype=torch.uint8)).sum().backward()
    assert logits.grad is not None
    assert logits.grad[0, 1] == 0 and logits.grad[1, 1] != 0


@space_names
def test_random_actions_are_of_the_space(name: str) -> None:
    space = SPACES[name]
    actions = random_actions(space, 300, torch.device("cpu"), None)
    assert actions.shape == (300, space.size) and actions.dtype == torch.uint8
    assert {tuple(action) for action in actions.tolist()} == {tuple(action) for action in every_action(space).tolist()}
