"""Who plays: what a human holds and taps, and draws of the agent and of chance."""

import torch
from tiny_run import BREAKOUT, SHOOTER

from diffworld.play.players import HeldKeys, PolicyOutput, choose_action


def test_what_is_tapped_between_two_steps_counts_once() -> None:
    one, many = HeldKeys(BREAKOUT.actions), HeldKeys(SHOOTER.actions)
    one.hold(3)
    one.hold(0)
    assert [one.take(), one.take()] == [3, 0]
    many.hold([0, 0, 1, 0, 1, 0])
    many.hold([1, 0, 0, 1, 0, 0])
    many.hold([1, 0, 0, 0, 1, 0])
    assert [list(many.take()) for _ in range(2)] == [[1, 0, 1, 1, 0, 0], [1, 0, 0, 0, 1, 0]]  # type: ignore[arg-type]


def test_the_way_of_the_mouse_over_a_step_counts_to_the_nearest_bin() -> None:
    keys = HeldKeys(SHOOTER.actions)

    def axis() -> str:
        return SHOOTER.actions.describe(keys.take()).rpartition("mouse x ")[2]

    for way in (1.5, 1.5, 1.5):
        keys.look(way, 9.0)
    assert [axis(), axis()] == ["4", "0"], "summed, and told once"
    keys.look(-300.0, 0.0)
    assert [axis(), axis()] == ["-4", "0"], "the outermost bin is the most"
    for told in ("0", "0", "4"):
        keys.look(0.9, 0.0)
        assert axis() == told, "a way too short for any bin counts on"
    keys.hold([1, 0, 0, 1, 0, 0])
    keys.look(50.0, 0.0)
    assert [axis(), axis()] == ["-4", "-4"], "a held key goes before the mouse"
    keys.hold([1, 0, 0, 0, 1, 0])
    keys.look(4.0, 0.0)
    assert SHOOTER.actions.describe(keys.take()) == "w, mouse x 4"
    plain = HeldKeys(BREAKOUT.actions)
    plain.look(90.0, 90.0)
    assert plain.take() == 0, "a game without a mouse"


def test_the_agent_draws_every_part_of_an_action() -> None:
    generator, zeros = torch.Generator().manual_seed(0), torch.zeros(1, 1)
    logits = torch.tensor([[9.0, 9.0, -9.0, -9.0, -9.0, 9.0]])
    thinks = PolicyOutput(logits, logits[0].numpy(), 0.0, 0.0, (zeros, zeros))
    action = choose_action("agent", SHOOTER.actions, None, thinks, 0.0, generator)
    assert list(action) == [1, 0, 0, 0, 0, 1]  # type: ignore[arg-type]
    drawn = {choose_action("random", BREAKOUT.actions, None, None, 1.0, generator) for _ in range(50)}
    assert drawn == {0, 1, 2, 3}
