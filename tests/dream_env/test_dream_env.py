"""One dream: what Gymnasium asks of an environment, and that seed and actions alone decide."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import RecordEpisodeStatistics

import diffworld
from diffworld.dream_env import DreamEnv
from diffworld.runs import Model
from diffworld.runtime.errors import UserError
from tests.dream_env.tiny_dream import CATCH, make_starts, other_game

Played = list[tuple[Any, ...]]


def play(env: Any, actions: list[Any]) -> Played:
    """Step after step, with a reset after each end."""
    seen = []
    for action in actions:
        seen.append(env.step(action))
        if seen[-1][2] or seen[-1][3]:
            env.reset()
    return seen


def assert_same(a: Played, b: Played) -> None:
    for one, other in zip(a, b, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        assert one[1:4] == other[1:4] and one[4]["end_prob"] == other[4]["end_prob"]
        np.testing.assert_array_equal(one[4]["reward_probs"], other[4]["reward_probs"])


ACTIONS = np.random.default_rng(0).integers(3, size=40).tolist()


def test_gymnasium_has_nothing_to_complain_of(model: Model, blind: Model, other_actions: Model) -> None:
    for each in (model, blind, other_actions):
        check_env(gymnasium.make("diffworld/Dream-v0", model=each, render_mode="rgb_array").unwrapped)


def test_gymnasium_has_nothing_to_complain_of_in_the_packaged_dream() -> None:
    check_env(gymnasium.make("diffworld/Dream-v0", model="demo", device="cpu").unwrapped)


def test_spaces_and_pictures(model: Model) -> None:
    env = gymnasium.make("diffworld/Dream-v0", model=model, render_mode="rgb_array")
    assert env.observation_space == gymnasium.spaces.Box(0, 255, (10, 10, 3), np.uint8)
    assert env.action_space == gymnasium.spaces.Discrete(3)
    assert (env.metadata["render_fps"], env.metadata["render_modes"]) == (12.0, ["rgb_array"])
    frame, _ = env.reset(seed=3)
    np.testing.assert_array_equal(env.render(), frame)
    frame, *_ = env.step(1)
    np.testing.assert_array_equal(env.render(), frame)
    assert DreamEnv(model=model).render() is None


def test_a_dream_begins_with_a_real_frame(model: Model, tmp_path: Path) -> None:
    frame, _ = DreamEnv(model=model).reset(seed=3)
    assert any((window.frames[-1] == frame).all() for window in model.starts.windows())
    elsewhere, _ = DreamEnv(model=model, starts=make_starts(tmp_path / "starts")).reset(seed=3)
    assert not any((window.frames[-1] == elsewhere).all() for window in model.starts.windows())


def test_seed_and_actions_decide_everything(model: Model) -> None:
    env, another = DreamEnv(model=model), DreamEnv(model=model)
    first, _ = env.reset(seed=7)
    seen = play(env, ACTIONS)
    np.testing.assert_array_equal(first, another.reset(seed=7)[0])
    assert_same(seen, play(another, ACTIONS))
    env.reset(seed=7)
    assert_same(seen, play(env, ACTIONS))
    env.reset(seed=8)
    assert any((a[0] != b[0]).any() for a, b in zip(seen, play(env, ACTIONS), strict=True))
    env.reset(seed=7)
    turned = play(env, [2 - ACTIONS[0], *ACTIONS[1:]])
    assert (turned[0][0] != seen[0][0]).any(), "another action leads elsewhere"


def test_episodes_of_a_seed_differ(model: Model) -> None:
    env = DreamEnv(model=model)
    env.reset(seed=7)
    one = env.step(0)[0]
    env.reset()
    assert (env.step(0)[0] != one).any()


def test_without_a_seed_dreams_differ_but_the_generator_decides(model: Model) -> None:
    def begin(seed: int | None) -> np.ndarray[Any, Any]:
        env = DreamEnv(model=model)
        if seed is not None:
            env.np_random = np.random.default_rng(seed)
        env.reset()
        return env.step(0)[0]

    assert (begin(None) != begin(None)).any()
    np.testing.assert_array_equal(begin(5), begin(5))


def test_it_ends_where_the_model_says_so_or_at_the_horizon(model: Model) -> None:
    env = DreamEnv(model=model, horizon=4)
    env.reset(seed=0)
    steps, lengths, ends = 0, [], []
    for _ in range(120):
        _, _, ended, truncated, info = env.step(1)
        steps += 1
        assert 0 < info["end_prob"] < 1 and not (ended and truncated)
        assert truncated == (steps == 4 and not ended)
        ends.append(ended)
        if ended or truncated:
            lengths.append(steps)
            steps = 0
            env.reset()
    assert set(lengths) == {1, 2, 3, 4}
    assert 0.08 < np.mean(ends) < 0.4, "about as often as it is likely"


def test_the_horizon_is_the_runs_unless_given(model: Model, blind: Model) -> None:
    assert DreamEnv(model=model).dreams.horizon == 6
    env = DreamEnv(model=blind, horizon=9)
    env.reset(seed=0)
    assert [env.step(0)[3] for _ in range(9)] == [False] * 8 + [True]


def test_expected_rewards_are_the_mean_and_ends_are_still_drawn(model: Model) -> None:
    sampled, expected = DreamEnv(model=model), DreamEnv(model=model, reward="expected")
    sampled.reset(seed=2)
    expected.reset(seed=2)
    a, b = play(sampled, ACTIONS), play(expected, ACTIONS)
    assert [step[2:4] for step in a] == [step[2:4] for step in b] and any(step[2] for step in b)
    for one, other in zip(a, b, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        probs = other[4]["reward_probs"]
        assert other[1] == pytest.approx(float(probs[2] - probs[0])) and other[1] % 1


def test_a_model_that_knows_no_rewards_pays_nothing_and_does_not_end(blind: Model) -> None:
    env = gymnasium.make("diffworld/Dream-v0", model=blind, horizon=5)
    env.reset(seed=0)
    for t in range(5):
        _, reward, ended, truncated, info = env.step(t % 3)
        assert (reward, ended, truncated) == (0.0, False, t == 4)
        assert info == {"reward_probs": None, "end_prob": None}


def test_denoising_steps(model: Model) -> None:
    frames = []
    for steps in (None, 2, 5):
        env = DreamEnv(model=model, denoising_steps=steps)
        env.reset(seed=0)
        frames.append(env.step(0)[0])
    np.testing.assert_array_equal(frames[0], frames[1])  # the run's own
    assert (frames[1] != frames[2]).any()
    assert model.require_world().sampler.denoising_steps == 2, "the model itself stays as it is"


def test_a_branch_goes_on_as_the_dream_did(model: Model) -> None:
    env = gymnasium.make("diffworld/Dream-v0", model=model).unwrapped
    assert isinstance(env, DreamEnv)
    env.reset(seed=11)
    play(env, ACTIONS[:9])
    state, here = env.get_state(), env.dreams.frames[0]
    seen = play(env, ACTIONS[9:])  # over ends and resets
    env.reset(seed=12)
    play(env, ACTIONS[:5])
    env.set_state(state)
    np.testing.assert_array_equal(env.dreams.frames[0], here)
    assert_same(seen, play(env, ACTIONS[9:]))
    fresh = DreamEnv(model=model)
    fresh.set_state(state)
    assert_same(seen, play(fresh, ACTIONS[9:]))
    env.set_state(state)
    assert (env.step(2 - ACTIONS[9])[0] != seen[0][0]).any(), "another action, another branch"


def test_a_state_is_not_changed_by_what_follows(model: Model) -> None:
    env = DreamEnv(model=model)
    frame, _ = env.reset(seed=1)
    state = env.get_state()
    kept = frame.copy()
    frame[:] = 0  # nor by what is done to an observation
    play(env, ACTIONS)
    env.set_state(state)
    np.testing.assert_array_equal(env.dreams.frames[0], kept)


def test_other_actions_can_be_taken(other_actions: Model) -> None:
    env = gymnasium.make("diffworld/Dream-v0", model=other_actions)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(12)]
    env.reset(seed=0)
    seen = play(env, actions)
    env.reset(seed=0)
    assert_same(seen, play(env, actions))
    assert env.unwrapped.dreams.milliseconds > 0  # type: ignore[attr-defined]


def test_gymnasiums_wrappers_take_it(model: Model) -> None:
    env = RecordEpisodeStatistics(gymnasium.make("diffworld/Dream-v0", model=model, horizon=3))
    env.reset(seed=0)
    lengths = [step[4]["episode"]["l"] for step in play(env, ACTIONS) if "episode" in step[4]]
    assert lengths and set(lengths) <= {1, 2, 3}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"model": "runs/none"}, "runs/none is no run folder"),
        ({"reward": "foo"}, "reward is 'foo'; choose sampled or expected"),
        ({"horizon": 0}, "horizon is 0"),
        ({"horizon": 2.5}, r"horizon is 2\.5"),
        ({"horizon": True}, "horizon is True"),
        ({"denoising_steps": 0}, "denoising_steps is 0"),
        ({"starts": "nowhere"}, "nowhere"),
        ({"render_mode": "ansi"}, "render_mode is 'ansi'"),
        ({"device": "abacus", "model": "demo"}, "unknown device 'abacus'"),
    ],
)
def test_bad_arguments_are_one_line(model: Model, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said) as refused:
        DreamEnv(**{"model": model, **arguments})
    assert "\n" not in str(refused.value)


def test_starts_of_another_game_are_refused(model: Model, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"does not fit catch: game gym/Other-v0, not .*, 4 actions, not 3"):
        DreamEnv(model=model, starts=make_starts(tmp_path / "starts", other_game()))


def test_a_run_without_a_world_model_is_refused(model: Model) -> None:
    with pytest.raises(UserError, match="catch has no dream"):
        DreamEnv(model=replace(model, world=None))


@pytest.mark.parametrize("action", [3, -1, 1.0, "left", None, [0, 1]])
def test_an_action_out_of_the_space_is_refused(model: Model, action: Any) -> None:
    env = DreamEnv(model=model)
    env.reset(seed=0)
    with pytest.raises(UserError, match="action"):
        env.step(action)
    assert env.get_state().keys[0].step == 0, "nothing has happened"


@pytest.mark.parametrize("action", [0, {}, [0], [0, 5], None])
def test_other_actions_out_of_their_space_are_refused(other_actions: Model, action: Any) -> None:
    env = DreamEnv(model=other_actions)
    env.reset(seed=0)
    with pytest.raises(UserError, match="action"):
        env.step(action)


def test_steps_before_a_reset_and_after_the_end_are_refused(model: Model) -> None:
    env = DreamEnv(model=model, horizon=1)
    for too_early in (lambda: env.step(0), env.get_state):
        with pytest.raises(UserError, match="the dream has not begun: reset it first"):
            too_early()
    env.reset(seed=0)
    env.step(0)
    with pytest.raises(UserError, match="the dream is over: reset it first"):
        env.step(0)
    env.reset()
    env.step(0)


def test_states_that_are_none_of_its_own_are_refused(model: Model, tmp_path: Path) -> None:
    env = DreamEnv(model=model)
    env.reset(seed=0)
    with pytest.raises(UserError, match="a dict"):
        env.set_state({})  # type: ignore[arg-type]
    with pytest.raises(UserError, match="of 2 dreams, not of 1"):
        env.set_state(env.get_state().rows([0, 0]))
    demo = DreamEnv(model=diffworld.load("demo", "cpu"))
    demo.reset(seed=0)
    with pytest.raises(UserError, match="of another model"):
        env.set_state(demo.get_state())


def test_seeds_that_gymnasium_has_none_of_are_refused(model: Model) -> None:
    with pytest.raises(gymnasium.error.Error, match="greater or equal to zero"):
        DreamEnv(model=model).reset(seed=-1)


def test_a_state_says_where_it_stands(model: Model) -> None:
    env = DreamEnv(model=model, horizon=2)
    env.reset(seed=5)
    env.reset()
    env.step(0)
    (key,) = env.get_state().keys
    assert (key.seed, key.episode, key.step) == (5, 1, 1)
    assert CATCH.name == env.dreams.spec.name
