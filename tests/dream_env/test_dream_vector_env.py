"""Several dreams in a batch: each is the dream it would be alone, in all three ways of resetting."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.vector.utils import batch_space
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from diffworld.dream_env import DreamEnv, DreamVectorEnv
from diffworld.runs import Model
from diffworld.runtime.errors import UserError

ROWS = 4
ACTIONS = np.random.default_rng(0).integers(3, size=(40, ROWS))


def make(model: Model, rows: int = ROWS, mode: AutoresetMode = AutoresetMode.NEXT_STEP, **others: Any) -> Any:
    return gymnasium.make_vec("diffworld/Dream-v0", num_envs=rows, model=model, autoreset_mode=mode, **others)


def assert_close(a: Any, b: Any) -> None:
    """Frames that differ by no more than rounding: at times a value by a level, which later frames are drawn from.

    These untrained networks carry that on to many values; another dream differs by 50 levels in the mean.
    """
    off = np.abs(np.asarray(a, np.int64) - np.asarray(b, np.int64))
    assert off.max() <= 6 and off.mean() < 0.5


def assert_same_info(ours: dict[str, Any], gymnasiums: dict[str, Any]) -> None:
    assert ours.keys() == gymnasiums.keys()
    for name, value in ours.items():
        if isinstance(value, dict):
            assert_same_info(value, gymnasiums[name])
        elif name == "final_obs":
            assert [x is None for x in value] == [x is None for x in gymnasiums[name]]
            for a, b in zip(value, gymnasiums[name], strict=True):
                if a is not None:
                    assert_close(a, b)
        else:
            assert value.dtype == gymnasiums[name].dtype
            np.testing.assert_allclose(value, gymnasiums[name], atol=1e-3)


def test_spaces_and_metadata(model: Model) -> None:
    envs = make(model, render_mode="rgb_array")
    assert envs.single_action_space == gymnasium.spaces.Discrete(3)
    assert envs.action_space == batch_space(envs.single_action_space, ROWS)
    assert envs.observation_space.shape == (ROWS, 10, 10, 3) and envs.observation_space.dtype == np.uint8
    assert envs.metadata["render_fps"] == 12.0
    frames, info = envs.reset(seed=0)
    assert frames in envs.observation_space and info == {}
    np.testing.assert_array_equal(np.stack(envs.render()), frames)
    assert make(model).render() is None
    for mode in AutoresetMode:
        assert make(model, mode=mode).metadata["autoreset_mode"] is mode
    assert make(model, mode="SameStep").metadata["autoreset_mode"] is AutoresetMode.SAME_STEP  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@pytest.mark.parametrize("rows", [1, ROWS])
@pytest.mark.cases(every=2)
def test_it_does_what_gymnasiums_own_vector_of_single_dreams_does(model: Model, mode: AutoresetMode, rows: int) -> None:
    ours = make(model, rows, mode)
    theirs = SyncVectorEnv([lambda: DreamEnv(model=model)] * rows, autoreset_mode=mode)
    np.testing.assert_array_equal(ours.reset(seed=3)[0], theirs.reset(seed=3)[0])
    compare = np.testing.assert_array_equal if rows == 1 else assert_close
    ended = 0
    for actions in ACTIONS[:, :rows]:
        a, b = ours.step(actions), theirs.step(actions)
        compare(a[0], b[0])
        for mine, other in zip(a[1:4], b[1:4], strict=True):
            np.testing.assert_array_equal(mine, other)
            assert mine.dtype == other.dtype
        assert_same_info(a[4], b[4])
        ended += int((a[2] | a[3]).sum())
    assert ended >= 4 * rows, "nothing to see without ends"


@pytest.mark.thorough
def test_without_autoreset_the_caller_resets_the_rows_that_are_over(model: Model) -> None:
    envs = make(model, mode=AutoresetMode.DISABLED)
    singles = [DreamEnv(model=model) for _ in range(ROWS)]
    frames, _ = envs.reset(seed=3)
    for row, env in enumerate(singles):
        np.testing.assert_array_equal(frames[row], env.reset(seed=3 + row)[0])
    for actions in ACTIONS:
        frames, _, ended, truncated, _ = envs.step(actions)
        over = ended | truncated
        for row, env in enumerate(singles):
            frame, _, *done, _ = env.step(int(actions[row]))
            assert_close(frames[row], frame)
            assert any(done) == over[row]
        if over.any():
            with pytest.raises(UserError, match=rf"over in rows \[{np.flatnonzero(over)[0]}"):
                envs.step(actions)
            frames, info = envs.reset(options={"reset_mask": over})
            assert info == {}
            for row in np.flatnonzero(over):
                np.testing.assert_array_equal(frames[row], singles[row].reset()[0])


def test_a_mask_with_seeds_resets_its_rows_alone(model: Model) -> None:
    envs = make(model, mode=AutoresetMode.DISABLED, horizon=50)
    before, _ = envs.reset(seed=3)
    after, _ = envs.reset(seed=[9, None, 9, 4], options={"reset_mask": np.array([True, False, False, True])})
    np.testing.assert_array_equal(after[1:3], before[1:3])
    np.testing.assert_array_equal(after[0], DreamEnv(model=model).reset(seed=9)[0])
    assert [key.seed for key in envs.get_state().keys] == [9, 4, 5, 4]


def test_a_row_does_not_depend_on_what_the_others_do(model: Model) -> None:
    one, other = make(model), make(model)
    one.reset(seed=3)
    other.reset(seed=[3, 90, 91, 92])
    mixed = np.random.default_rng(1).integers(3, size=ACTIONS.shape)
    mixed[:, 0] = ACTIONS[:, 0]
    for actions, others in zip(ACTIONS, mixed, strict=True):
        a, b = one.step(actions), other.step(others)
        assert_close(a[0][0], b[0][0])
        assert [x[0] for x in a[1:4]] == [x[0] for x in b[1:4]]
    assert (a[0][1:] != b[0][1:]).any()


def test_a_branch_of_all_rows_goes_on_as_they_did(model: Model) -> None:
    envs = make(model)
    envs.reset(seed=3)
    for actions in ACTIONS[:8]:
        envs.step(actions)
    state = envs.get_state()
    seen = [envs.step(actions) for actions in ACTIONS[8:]]
    envs.reset(seed=50)
    envs.set_state(state)
    for actions, before in zip(ACTIONS[8:], seen, strict=True):
        again = envs.step(actions)
        for a, b in zip(before[:4], again[:4], strict=True):
            np.testing.assert_array_equal(a, b)
    fresh = make(model)
    fresh.set_state(state)
    np.testing.assert_array_equal(fresh.step(ACTIONS[8])[0], seen[0][0])


def test_one_dream_branches_into_a_row_for_each_action(model: Model) -> None:
    env, envs = DreamEnv(model=model), make(model, 3)
    env.reset(seed=3)
    env.step(1)
    state = env.get_state()
    envs.set_state(state.rows([0] * 3))
    frames, *_ = envs.step(np.arange(3))
    for action in range(3):
        env.set_state(state)
        assert_close(frames[action], env.step(action)[0])
    with pytest.raises(UserError, match="of 1 dreams, not of 3"):
        envs.set_state(state)


def test_a_model_that_knows_no_rewards(blind: Model) -> None:
    envs = make(blind, horizon=3)
    envs.reset(seed=0)
    for t in range(3):
        _, rewards, ended, truncated, info = envs.step(ACTIONS[0])
        assert not rewards.any() and not ended.any() and truncated.all() == (t == 2)
        assert list(info["end_prob"]) == [None] * ROWS and list(info["reward_probs"]) == [None] * ROWS


def test_rewards_and_ends_are_as_frequent_as_the_model_says(model: Model) -> None:
    envs = make(model, 32, AutoresetMode.NEXT_STEP)
    envs.reset(seed=0)
    rewards, ends, signs, end = [], [], [], []
    for _ in range(25):
        _, reward, ended, _, info = envs.step(np.ones(32, np.int64))
        stepped = info["_end_prob"]
        rewards += reward[stepped].tolist()
        ends += ended[stepped].tolist()
        signs.append(info["reward_probs"][stepped].mean(axis=0))
        end.append(info["end_prob"][stepped].mean())
    assert set(rewards) == {-1.0, 0.0, 1.0} and np.sum(signs, axis=1) == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose([np.mean(np.array(rewards) == s) for s in (-1, 0, 1)], np.mean(signs, axis=0), atol=0.07)
    assert np.mean(ends) == pytest.approx(np.mean(end), abs=0.06)


def test_other_actions_can_be_taken(other_actions: Model) -> None:
    envs, single = make(other_actions, horizon=40), DreamEnv(model=other_actions, horizon=40)
    envs.action_space.seed(0)
    envs.reset(seed=0)
    single.reset(seed=0)
    actions = envs.action_space.sample()
    frames, *_ = envs.step(actions)
    own = {name: value[0] for name, value in actions.items()} if isinstance(actions, dict) else actions[0]
    assert_close(frames[0], single.step(own)[0])
    with pytest.raises(UserError, match="action"):
        envs.step(np.zeros(ROWS, np.int64))


def test_gymnasiums_wrappers_take_it(model: Model) -> None:
    envs = RecordEpisodeStatistics(make(model, mode=AutoresetMode.SAME_STEP))
    envs.reset(seed=0)
    for actions in ACTIONS:
        envs.step(actions)
    assert envs.episode_count >= 10 and max(envs.length_queue) <= 6


def test_bad_input_is_one_line(model: Model) -> None:
    with pytest.raises(UserError, match="num_envs is 0"):
        make(model, 0)
    with pytest.raises(UserError, match="one of NextStep, SameStep, Disabled, not 'Sometimes'"):
        DreamVectorEnv(2, model=model, autoreset_mode="Sometimes")
    with pytest.raises(UserError, match="render_mode is 'human'"):
        make(model, render_mode="human")
    envs = make(model)
    with pytest.raises(UserError, match="the dream has not begun"):
        envs.step(ACTIONS[0])
    with pytest.raises(UserError, match="4 dreams need as many seeds, not 2"):
        envs.reset(seed=[1, 2])
    with pytest.raises(UserError, match="the dream has not begun"):
        envs.reset(options={"reset_mask": np.array([True, False, False, False])})
    with pytest.raises(gymnasium.error.Error, match="greater or equal to zero"):
        envs.reset(seed=[0, 1, -2, 3])
    envs.reset(seed=0)
    with pytest.raises(UserError, match=r"action 3 is not one of 0\.\.2"):
        envs.step(np.array([0, 1, 2, 3]))
    with pytest.raises(UserError, match="4 dreams need as many actions, not 3"):
        envs.step(np.array([0, 1, 2]))
    with pytest.raises(UserError, match="actions must be of MultiDiscrete"):
        envs.step(1)
    for mask in ([True] * ROWS, np.ones(3, dtype=bool), np.ones(ROWS, dtype=np.int64)):
        with pytest.raises(UserError, match="reset_mask must be a numpy array of bool"):
            envs.reset(options={"reset_mask": mask})
    with pytest.raises(UserError, match="at least one row"):
        envs.reset(options={"reset_mask": np.zeros(ROWS, dtype=bool)})
