"""What a game is: actions in and out of every form, and descriptions that no game can have."""

import json
from dataclasses import replace
from typing import Any

import gymnasium.spaces as spaces
import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from diffworld.game import MAX_ACTIONS, ActionSpace, Choice, GameSpec, Keys
from diffworld.game.gym_spaces import from_gym_action, from_gymnasium, to_gym_action, to_gymnasium
from diffworld.runtime.errors import UserError

NAMES = st.lists(st.text(max_size=8), min_size=1, max_size=5, unique=True).map(tuple)


@st.composite
def keys(draw: st.DrawFn) -> Keys:
    names = draw(NAMES)
    pairs = st.tuples(st.sampled_from(names), st.sampled_from(names)).filter(lambda pair: pair[0] != pair[1])
    return Keys(names, tuple(draw(st.lists(pairs, max_size=4))) if len(names) > 1 else ())


@st.composite
def action_spaces(draw: st.DrawFn) -> ActionSpace:
    """Any, whose names differ as they must."""
    parts = draw(st.lists(st.one_of(st.builds(Choice, st.text(max_size=8), NAMES), keys()), min_size=1, max_size=4))
    try:
        return ActionSpace(tuple(parts))
    except UserError:
        reject()


SPACES = action_spaces()


def values_of(space: ActionSpace, data: st.DataObject) -> list[Any]:
    """A value of each part, as a caller might give it."""
    return [
        data.draw(st.integers(0, part.size - 1))
        if isinstance(part, Choice)
        else data.draw(st.lists(st.integers(0, 1), min_size=part.size, max_size=part.size))
        for part in space.parts
    ]


def assert_same(a: Any, b: Any) -> None:
    assert type(a) is type(b)
    np.testing.assert_array_equal(a, b)


# --- encoding --------------------------------------------------------------------------------------------------------


@given(SPACES, st.data())
def test_an_encoded_action_is_decoded_to_its_values(space: ActionSpace, data: st.DataObject) -> None:
    values = values_of(space, data)
    action = space.encode(values)
    if space.is_discrete:
        assert type(action) is int and action == values[0]
    else:
        assert isinstance(action, np.ndarray) and action.dtype == np.uint8 and action.shape == (space.size,)
    decoded = space.decode(action)
    assert_same(space.encode(decoded), action)
    assert_same(space.check(action), action)
    for part, value, back in zip(space.parts, values, decoded, strict=True):
        if isinstance(part, Choice):
            assert back == value
        else:
            assert (back <= np.array(value)).all(), "keys are only ever let go"
            assert not any(back[first] and back[second] for first, second in part.conflicts)
            if not part.exclusive:
                assert back.tolist() == value
            for place in np.flatnonzero(np.array(value) > back):  # a key gives way to one that stays down
                assert any(back[first] for first, second in part.conflicts if second == place)


@settings(max_examples=50)
@given(SPACES)
def test_names_and_sizes_belong_together(space: ActionSpace) -> None:
    assert len(space.names) == space.size == sum(part.size for part in space.parts)
    assert space.is_discrete == (len(space.parts) == 1 and isinstance(space.parts[0], Choice))
    assert hash(space) == hash(ActionSpace(tuple(space.parts)))


@settings(max_examples=50)
@given(SPACES, st.integers(0, 99))
def test_idle_and_samples_are_of_the_space(space: ActionSpace, seed: int) -> None:
    idle = space.idle
    assert_same(space.check(idle), idle)
    for part, value in zip(space.parts, space.decode(idle), strict=True):
        assert not np.any(value) or (isinstance(part, Choice) and part.values[value].upper() in ("NOOP", "0"))
    samples = space.sample(np.random.default_rng(seed), 20)
    assert samples.shape == ((20,) if space.is_discrete else (20, space.size))
    assert samples.dtype == (np.int64 if space.is_discrete else np.uint8)
    for action in samples:
        assert (space.encode(space.decode(action)) == action).all()
    np.testing.assert_array_equal(samples, space.sample(np.random.default_rng(seed), 20))


@pytest.mark.parametrize(
    ("space", "idle"),
    [
        (ActionSpace.discrete(["FIRE", "NOOP", "UP"]), 1),
        (ActionSpace.discrete(["-1", "0", "1"]), 1),
        (ActionSpace.discrete(["up", "down"]), 0),
        (ActionSpace((Keys(("w", "s")), Choice("mouse", ("-4", "0", "4")))), [0, 0, 0, 1, 0]),
    ],
)
def test_what_is_idle(space: ActionSpace, idle: Any) -> None:
    np.testing.assert_array_equal(space.idle, idle)


def test_samples_are_uniform_in_each_part() -> None:
    space = ActionSpace((Keys(("w", "space")), Choice("mouse", ("-", "0", "+"))))
    drawn = space.sample(np.random.default_rng(0), 6000).mean(0)
    np.testing.assert_allclose(drawn, [1 / 2, 1 / 2, 1 / 3, 1 / 3, 1 / 3], atol=0.03)
    one = ActionSpace.discrete(4).sample(np.random.default_rng(0), 8000)
    np.testing.assert_allclose(np.bincount(one) / 8000, 1 / 4, atol=0.03)


WASD = ActionSpace((Keys(("w", "s", "a", "d", "space"), (("w", "s"), ("d", "a"))), Choice("mouse x", ("-4", "0", "4"))))


@pytest.mark.parametrize(
    ("down", "kept"),
    [
        ([1, 1, 0, 0, 1], [1, 0, 0, 0, 1]),
        ([0, 0, 1, 1, 0], [0, 0, 1, 0, 0]),  # later among the keys, however the pair names them
        ([1, 1, 1, 1, 1], [1, 0, 1, 0, 1]),
        ([0, 1, 0, 1, 0], [0, 1, 0, 1, 0]),
    ],
)
def test_of_keys_that_exclude_each_other_the_later_gives_way(down: list[int], kept: list[int]) -> None:
    assert WASD.encode([down, 1]).tolist() == [*kept, 0, 1, 0]  # type: ignore[union-attr]


@pytest.mark.parametrize("pairs", [(("a", "b"), ("b", "c")), (("b", "c"), ("a", "b"))])
def test_a_key_gives_way_only_to_one_that_stays_in_whatever_order_the_pairs_are(pairs: Any) -> None:
    space = ActionSpace((Keys(("a", "b", "c"), pairs),))
    assert space.encode([[1, 1, 1]]).tolist() == [1, 0, 1]  # type: ignore[union-attr]
    assert space.encode([[0, 1, 1]]).tolist() == [0, 1, 0]  # type: ignore[union-attr]


# --- in words --------------------------------------------------------------------------------------------------------


def test_actions_in_words() -> None:
    assert ActionSpace.discrete(["NOOP", "LEFT"]).describe(1) == "LEFT"
    assert ActionSpace.discrete(3).describe(2) == "2"
    assert WASD.describe(WASD.encode([[1, 0, 0, 0, 1], 0])) == "w+space, mouse x -4"
    assert WASD.describe(WASD.idle) == "mouse x 0"
    only_keys = ActionSpace((Keys(("w", "s")),))
    assert only_keys.describe([0, 0]) == "nothing" and only_keys.describe([0, 1]) == "s"
    assert WASD.names == ("w", "s", "a", "d", "space", "mouse x -4", "mouse x 0", "mouse x 4")


@given(SPACES, st.data())
def test_every_action_has_words(space: ActionSpace, data: st.DataObject) -> None:
    said = space.describe(space.encode(values_of(space, data)))
    assert isinstance(said, str) and (said or "" in space.names)


# --- actions that are none -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [-1, 4, 10**30, 1.0, "1", None, [0, 1], np.array([[1]]), True, [], {}])
def test_what_is_no_number_of_an_action(wrong: Any) -> None:
    space = ActionSpace.discrete(4)
    for use in (space.check, space.decode, space.describe, lambda action: space.encode([action])):
        with pytest.raises(UserError, match="action") as error:
            use(wrong)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("fine", [3, np.int64(3), np.uint8(3), np.array(3), np.array([3])])
def test_what_is_a_number_of_an_action(fine: Any) -> None:
    checked = ActionSpace.discrete(4).check(fine)
    assert type(checked) is int and checked == 3


@pytest.mark.parametrize(
    "wrong", [0, None, "00000", [1, 0], [0] * 9, [2] * 8, [0.5] * 8, [[0] * 8], [None] * 8, ["0"] * 8, {}, [[1], 0]]
)
def test_what_is_no_vector_of_an_action(wrong: Any) -> None:
    for use in (WASD.check, WASD.decode, WASD.describe):
        with pytest.raises(UserError, match="action") as error:
            use(wrong)
        assert "\n" not in str(error.value)


def test_a_choice_is_exactly_one_value() -> None:
    for vector, count in (([0] * 8, 0), ([0] * 5 + [1, 1, 0], 2)):
        with pytest.raises(UserError, match=f"exactly one value of mouse x, not {count}"):
            WASD.decode(vector)


@pytest.mark.parametrize("wrong", [[], [[0] * 5], [[0] * 5, 1, 1], [[0] * 4, 1], [[0] * 5, 3], [1, [0] * 5]])
def test_values_that_are_not_of_the_parts(wrong: list[Any]) -> None:
    with pytest.raises(UserError, match="action"):
        WASD.encode(wrong)


# --- Gymnasium -------------------------------------------------------------------------------------------------------


@settings(max_examples=50)
@given(SPACES, st.data())
def test_gymnasium_and_back(space: ActionSpace, data: st.DataObject) -> None:
    gym_space = to_gymnasium(space)
    expected = (
        {Choice: spaces.Discrete, Keys: spaces.MultiBinary}[type(space.parts[0])]
        if len(space.parts) == 1
        else spaces.MultiDiscrete
        if all(isinstance(part, Choice) for part in space.parts)
        else spaces.Dict
    )
    assert type(gym_space) is expected
    action = space.encode(values_of(space, data))
    gym_action = to_gym_action(space, action)
    assert gym_space.contains(gym_action)
    assert_same(from_gym_action(space, gym_action), action)
    gym_space.seed(0)
    for _ in range(3):
        space.check(from_gym_action(space, gym_space.sample()))
    again = from_gymnasium(gym_space)

    def sizes(space: ActionSpace) -> list[tuple[str, int]]:
        return sorted((type(part).__name__, part.size) for part in space.parts)

    assert sizes(again) == sizes(space)
    if isinstance(gym_space, spaces.Dict):
        assert len(gym_space) == len(space.parts)
    else:
        assert to_gymnasium(again) == gym_space


@pytest.mark.parametrize(
    ("gym_space", "expected"),
    [
        (spaces.Discrete(3), ActionSpace.discrete(3)),
        (spaces.Discrete(3, start=-1), ActionSpace.discrete(["-1", "0", "1"])),
        (spaces.MultiBinary(2), ActionSpace((Keys(("0", "1")),))),
        (spaces.MultiDiscrete([2, 3]), ActionSpace((Choice("0", ("0", "1")), Choice("1", ("0", "1", "2"))))),
        (
            spaces.Dict({"buttons": spaces.MultiBinary(2), "mouse": spaces.Discrete(3)}),
            ActionSpace((Keys(("buttons 0", "buttons 1")), Choice("mouse", ("0", "1", "2")))),
        ),
        (
            spaces.Dict({"a": spaces.MultiBinary(1), "b": spaces.MultiBinary(1), "c": spaces.MultiDiscrete([2, 1])}),
            ActionSpace((Keys(("a 0",)), Keys(("b 0",)), Choice("c 0", ("0", "1")), Choice("c 1", ("0",)))),
        ),
        (
            spaces.Box(-2, 2, (1,)),
            ActionSpace((Choice("axis", ("-2", "-1", "0", "1", "2")),)),
        ),
        (
            spaces.Box(np.array([-1, 0, -3], np.float32), np.array([1, 1, 1], np.float32)),
            ActionSpace(
                (
                    Choice("axis 0", ("-1", "-0.5", "0", "0.5", "1")),
                    Choice("axis 1", ("0", "0.25", "0.5", "0.75", "1")),
                    Choice("axis 2", ("-3", "-2", "-1", "0", "1")),
                )
            ),
        ),
        (spaces.Box(0, 2, (1,), np.int64), ActionSpace((Choice("axis", ("0", "1", "2")),))),
        (
            spaces.Dict({"fire": spaces.MultiBinary(1), "aim": spaces.Box(-1, 1, (2,))}),
            ActionSpace(
                (
                    Choice("aim axis 0", ("-1", "-0.5", "0", "0.5", "1")),
                    Choice("aim axis 1", ("-1", "-0.5", "0", "0.5", "1")),
                    Keys(("fire 0",)),
                )
            ),
        ),
        (
            spaces.Dict({"mouse": spaces.Dict({"x": spaces.Discrete(2), "y": spaces.Discrete(2)})}),
            ActionSpace((Choice("mouse x", ("0", "1")), Choice("mouse y", ("0", "1")))),
        ),
    ],
)
def test_spaces_of_environments(gym_space: spaces.Space[Any], expected: ActionSpace) -> None:
    assert from_gymnasium(gym_space) == expected


@pytest.mark.parametrize(
    "gym_space",
    [
        spaces.Box(-2, 2, (1,)),
        spaces.Box(np.array([-1, 0, -3], np.float32), np.array([1 / 3, 2e5 / 3, 1], np.float32)),
        spaces.Box(0, 2, (2, 2), np.int64),
        spaces.Dict(
            {"fire": spaces.MultiBinary(2), "aim": spaces.Box(-1, 1, (2,)), "gear": spaces.Discrete(3, start=-1)}
        ),
        spaces.MultiDiscrete([2, 3]),
    ],
)
def test_every_action_is_one_of_the_environments(gym_space: spaces.Space[Any]) -> None:
    space = from_gymnasium(gym_space)
    for action in [space.idle, *space.sample(np.random.default_rng(0), 50)]:
        assert gym_space.contains(to_gym_action(space, action, gym_space)), action
    idle = to_gym_action(space, space.idle, gym_space)
    if isinstance(gym_space, spaces.Box):
        assert not np.any(idle) and to_gym_action(space, space.idle, gym_space).dtype == gym_space.dtype


def test_a_discrete_space_may_be_given_names() -> None:
    assert from_gymnasium(spaces.Discrete(2), ["stay", "go"]).names == ("stay", "go")


@pytest.mark.parametrize(
    "gym_space",
    [
        spaces.Box(-np.inf, 1, (2,)),
        spaces.Box(0, 255, (64, 64, 3), np.uint8),
        spaces.MultiBinary([2, 3]),
        spaces.MultiDiscrete([[2, 3], [2, 3]]),
        spaces.Dict({"mouse": spaces.Box(-1, np.inf, (2,))}),
        spaces.Tuple((spaces.Discrete(2),)),
        spaces.Discrete(10**12),
        spaces.MultiBinary(MAX_ACTIONS + 1),
        spaces.MultiDiscrete([2, 10**9]),
        spaces.Dict({}),
    ],
)
def test_spaces_that_are_neither_choices_nor_keys(gym_space: spaces.Space[Any]) -> None:
    with pytest.raises(UserError) as error:
        from_gymnasium(gym_space)
    assert "\n" not in str(error.value)


# --- JSON ------------------------------------------------------------------------------------------------------------


@settings(max_examples=50)
@given(SPACES)
def test_action_spaces_survive_json(space: ActionSpace) -> None:
    assert ActionSpace.from_json(json.loads(json.dumps(space.to_json()))) == space


SPECS = st.builds(
    GameSpec,
    name=st.text(max_size=10),
    height=st.integers(1, 2**14),
    width=st.integers(1, 2**14),
    actions=SPACES,
    steps_per_second=st.floats(0.01, 1e5),
    keys=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
    rewards=st.booleans(),
    ends=st.booleans(),
    presented=st.dictionaries(st.text(max_size=5), st.one_of(st.integers(), st.booleans()), max_size=3),
)


@settings(max_examples=50)
@given(SPECS)
def test_games_survive_json(spec: GameSpec) -> None:
    again = GameSpec.from_json(json.loads(json.dumps(spec.to_json())))
    assert again == spec
    assert spec.differences(again) == []
    assert (spec.frame_shape, spec.frame_size) == ((spec.height, spec.width, 3), (spec.height, spec.width))


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=8,
)


@settings(max_examples=200)
@given(JSON)
def test_any_other_json_is_no_action_space_and_no_game(data: Any) -> None:
    for read in (ActionSpace.from_json, GameSpec.from_json):
        with pytest.raises(UserError) as error:
            read(data)
        assert "\n" not in str(error.value)


GAME = GameSpec("toy", 12, 16, WASD, keys={"w": "KeyW"}, presented={"frame_skip": 4, "height": 12})
FIELDS = sorted(GAME.to_json())


@settings(max_examples=200)
@given(st.sampled_from(FIELDS), st.one_of(JSON, st.sampled_from([10**12, float("nan"), float("inf"), "two\nlines"])))
def test_a_damaged_field_is_one_line_or_still_a_game(name: str, value: Any) -> None:
    data = {**GAME.to_json(), name: value}
    try:
        spec = GameSpec.from_json(data)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert spec.frame_shape and spec.to_json().keys() == data.keys()
        assert GameSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_must_be_there(name: str) -> None:
    data = GAME.to_json()
    del data[name]
    with pytest.raises(UserError, match="no description of a game"):
        GameSpec.from_json(data)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", 3),
        ("height", "12"),
        ("height", True),
        ("width", 0),
        ("width", 10**12),
        ("width", 16.0),
        ("actions", []),
        ("actions", "wasd"),
        ("actions", [{"choice": "x"}]),
        ("actions", [{"choice": 3, "values": ["a"]}]),
        ("actions", [{"choice": "x", "values": "ab"}]),
        ("actions", [{"choice": "x", "values": [1, 2]}]),
        ("actions", [{"keys": ["a", "b"], "exclusive": [["a"]]}]),
        ("actions", [{"keys": ["a", "b"], "exclusive": [["a", "c"]]}]),
        ("actions", [{"keys": "ab", "exclusive": []}]),
        ("actions", [{"keys": ["a", "b"]}]),
        ("steps_per_second", 0),
        ("steps_per_second", True),
        ("steps_per_second", float("nan")),
        ("steps_per_second", float("inf")),
        ("keys", ["w"]),
        ("keys", {"w": 3}),
        ("rewards", 1),
        ("ends", "yes"),
        ("presented", 3),
    ],
)
def test_wrong_types_and_ranges(name: str, value: Any) -> None:
    with pytest.raises(UserError) as error:
        GameSpec.from_json({**GAME.to_json(), name: value})
    assert "\n" not in str(error.value)


# --- descriptions that no game can have ------------------------------------------------------------------------------


def test_parts_that_no_game_has() -> None:
    bad: list[Any] = [
        lambda: ActionSpace(()),
        lambda: ActionSpace((Choice("x", ()),)),
        lambda: ActionSpace((Keys(()),)),
        lambda: ActionSpace((Choice("x", ("a", "b", "a")),)),
        lambda: ActionSpace((Keys(("a", "a")),)),
        lambda: ActionSpace((Keys(("a", "b"), (("a", "c"),)),)),
        lambda: ActionSpace((Keys(("a", "b"), (("a", "a"),)),)),
        lambda: ActionSpace((Choice("x", ("0", "1")), Choice("x", ("2", "3")))),
        lambda: ActionSpace((Keys(("a",)), Keys(("b", "a")))),
        lambda: ActionSpace((Keys(("x 0",)), Choice("x", ("0", "1")))),
        lambda: ActionSpace((Keys(("a",)), Choice("keys", ("0", "1")))),  # as Gymnasium would call both
        lambda: ActionSpace.discrete(0),
        lambda: ActionSpace.discrete(-3),
        lambda: ActionSpace.discrete([]),
        lambda: ActionSpace.discrete(["a", "a"]),
        lambda: ActionSpace.discrete(MAX_ACTIONS + 1),
        lambda: ActionSpace.discrete(10**12),
    ]
    for make in bad:
        with pytest.raises(UserError) as error:
            make()
        assert "\n" not in str(error.value)
    assert ActionSpace.discrete(MAX_ACTIONS).size == MAX_ACTIONS


def test_differences_are_in_words() -> None:
    assert GAME.differences(replace(GAME, steps_per_second=1.0, keys={}, rewards=False, ends=False)) == []
    assert GAME.differences(replace(GAME, name="other")) == ["game toy, not other"]
    assert GAME.differences(replace(GAME, width=8)) == ["frames of 12x16, not 12x8"]
    assert GAME.differences(replace(GAME, actions=ActionSpace.discrete(4))) == ["8 actions, not 4"]
    assert GAME.differences(replace(GAME, actions=ActionSpace.discrete(8))) == ["other actions"]
    assert GAME.differences(replace(GAME, presented={"frame_skip": 2, "height": 9})) == ["frame_skip 4, not 2"]
    assert GAME.differences(replace(GAME, presented={})) == [], "a recording does not say how its game was presented"
