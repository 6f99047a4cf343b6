"""A session without a page: who plays, in which world, back and forth, and the same again for the same seed."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_run import BREAKOUT, SMALL, make_run, make_shooter_run, model_free, tiny_networks

import diffworld.runs.loading as loading
from diffworld.data import Dataset
from diffworld.play.library import Library
from diffworld.play.session import PlaySession
from diffworld.play.view import View
from diffworld.runs import Checkpoint, Model, RunFolder, load, pack
from diffworld.runtime.errors import UserError


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(make_run(tmp_path_factory.mktemp("session") / "run"), "cpu")


def same(a: View, b: View) -> bool:
    """Whether two views show the same (times aside)."""
    for name in ("dream", "real", "difference", "reward_probs", "policy"):
        x, y = getattr(a, name), getattr(b, name)
        if (x is None) != (y is None) or (x is not None and not np.array_equal(x, y)):
            return False
    names = ("step", "score", "real_score", "action", "reward", "ended", "truncated", "why", "end_prob", "value")
    return all(getattr(a, name) == getattr(b, name) for name in names)


def play(session: PlaySession, actions: list[int]) -> list[View]:
    return [session.step(action) for action in actions]


@pytest.mark.parametrize("world", ["dream", "real", "both"])
@pytest.mark.parametrize("player", ["human", "agent", "random"])
def test_every_player_in_every_world(model: Model, world: str, player: str) -> None:
    session = PlaySession(model, player=player, world=world, seed=3, inside=True)
    start = session.reset()
    assert (start.step, start.action, start.kept) == (0, None, 0)
    view = play(session, [2, 1, 3])[-1]
    assert view.step == 3
    assert view.player == player
    assert (view.dream is not None, view.real is not None) == (world != "real", world != "dream")
    assert view.policy is not None and view.policy.sum() == pytest.approx(1, abs=1e-5)
    assert view.entropy is not None and 0 <= view.entropy <= np.log(4) + 1e-5
    if player == "human":
        assert view.action == 3
    if world != "real":
        assert view.context is not None and view.trajectory is not None
        assert view.context.shape == (4, 16, 16, 3)
        np.testing.assert_array_equal(view.trajectory[-1], view.dream)
        assert len(view.trajectory) == 3
        assert {"denoiser", "reward_end", "policy"} <= set(view.milliseconds)
    if world == "both":
        assert view.dream is not None and view.real is not None and view.difference is not None
        apart = view.real.astype(int) - view.dream
        np.testing.assert_array_equal(view.difference, np.clip(128 + 4 * apart, 0, 255))
        assert np.array_equal(start.dream, start.real)
        assert start.difference is not None and (start.difference == 128).all()
    session.close()


@settings(max_examples=5)
@given(st.integers(0, 2**31 - 1), st.lists(st.integers(0, 3), min_size=1, max_size=6), st.data())
def test_the_same_seed_and_actions_show_the_same_and_so_after_a_rewind(
    model: Model, seed: int, actions: list[int], data: st.DataObject
) -> None:
    wanted: dict[str, Any] = {"world": "both", "seed": seed, "churn": 5.0}
    first, second = PlaySession(model, **wanted), PlaySession(model, **wanted)
    views = [first.reset(), *play(first, actions)]
    assert all(same(a, b) for a, b in zip(views, [second.reset(), *play(second, actions)], strict=True))
    back = data.draw(st.integers(0, len(actions)))
    assert same(first.rewind(back), views[len(actions) - back])
    assert all(same(a, b) for a, b in zip(play(first, actions[len(actions) - back :]), views[-back:], strict=False))
    first.close()
    second.close()


def test_a_rewind_branches_and_crosses_starts(model: Model) -> None:
    session = PlaySession(model, player="agent", horizon=4)
    session.reset()
    views = play(session, [0] * 9)  # an end after 4, then another episode
    assert [view.step for view in views] == [1, 2, 3, 4, 0, 1, 2, 3, 4]
    assert [view.truncated for view in views] == [view.step == 4 for view in views]
    assert session.rewind(6).kept == 3
    session.configure(player="human")
    branch = session.step((views[3].action or 0) + 1 if (views[3].action or 0) < 3 else 0)
    assert not np.array_equal(branch.dream, views[3].dream)
    session.rewind(1)
    session.configure(player="agent")
    assert all(same(a, b) for a, b in zip(play(session, [0] * 6), views[3:], strict=True))
    assert session.rewind(10_000).kept == 0


WORLDS = ("dream", "real", "both")
PLAYERS = ("human", "agent", "random", "recording")


def shows(view: View) -> str:
    return "both" if view.dream is not None and view.real is not None else "real" if view.dream is None else "dream"


def begin(session: PlaySession, world: str, player: str) -> View:
    """That player in that world, with the actions of an episode of the replay where a recording plays."""
    if player != "recording":
        return session.configure(world=world, player=player)
    session.configure(world=world)
    return session.play_recording("replay", 0)


@pytest.mark.parametrize("player", PLAYERS)
@pytest.mark.parametrize("first_player", ["human", "recording"])
@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("first_world", WORLDS)
@pytest.mark.cases(every=9)
def test_a_rewind_goes_back_into_the_world_of_that_moment(
    model: Model, first_world: str, world: str, first_player: str, player: str
) -> None:
    session = PlaySession(model, library=Library(model.datasets), seed=4)
    start = begin(session, first_world, first_player)
    before = play(session, [1, 2, 2])
    begin(session, world, player)
    play(session, [3, 0])
    # One step at a time, as a held key does it, and on from there; the last one is past the change.
    for _ in range(4):
        kept = session.rewind(1)
        view = session.step(2)
        assert session.settings.world == shows(kept) == shows(view)
        assert (view.step, view.player) == (kept.step + 1, session.settings.player)
        session.rewind(1)
    session.rewind(session.configure().kept - start.kept)
    session.configure(player="human" if session.settings.player != "recording" else "recording")
    assert session.settings.world == first_world
    resumes = first_player == "recording" and (player == "recording" or first_world != "dream")
    assert (session.settings.player == "recording") == resumes
    for seen in before:  # the real game is played again, the dream drawn again
        again = session.step(seen.action)
        assert (again.step, again.action, again.reward) == (seen.step, seen.action, seen.reward)
        assert np.array_equal(again.dream, seen.dream) and np.array_equal(again.real, seen.real)
    session.close()


@settings(max_examples=15 if os.environ.get("CI") else 5)
@given(st.lists(st.one_of(st.integers(1, 6), st.tuples(st.sampled_from(WORLDS), st.sampled_from(PLAYERS))), max_size=9))
def test_no_order_of_worlds_players_and_rewinds_leaves_a_session_in_two_worlds(
    model: Model, deeds: list[int | tuple[str, str]]
) -> None:
    session = PlaySession(model, library=Library(model.datasets))
    for deed in deeds:
        shown = session.rewind(deed) if isinstance(deed, int) else begin(session, *deed)
        for view in (shown, *play(session, [1, 0, 2])):
            assert shows(view) == session.settings.world
    session.close()


def alike(a: View, b: View) -> bool:
    """Whether two views show the same but for rounding: in another batch a value may fall into the next level."""
    assert a.dream is not None and b.dream is not None
    near = np.abs(a.dream.astype(int) - b.dream).max() <= 4
    return bool(near) and np.array_equal(a.real, b.real) and (a.step, a.action) == (b.step, b.action)


def test_players_share_a_model_without_disturbing_each_other(model: Model) -> None:
    def game(seed: int) -> list[View]:
        session = PlaySession(model, player="random", world="both", seed=seed)
        views = [session.reset(), *play(session, [0] * 12)]
        session.close()
        return views

    seeds = [1, 2, 1, 3]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(game, seeds))
    for seed, views in zip(seeds, together, strict=True):
        assert all(alike(a, b) for a, b in zip(game(seed), views, strict=True))


def test_another_seed_starts_and_draws_otherwise(model: Model) -> None:
    starts = set()
    for seed in range(6):
        session = PlaySession(model, seed=seed)
        view = session.reset()
        assert view.dream is not None
        starts.add(view.dream.tobytes())
    assert len(starts) > 1
    session = PlaySession(model, seed=1)
    first = session.reset()
    session.configure(seed=2)
    session.configure(seed=1)
    session.step(0)
    assert not same(session.reset(), first)  # the second episode of that seed
    session.configure(seed=2)
    session.reset()
    session.configure(seed=1)
    assert same(session.reset(), first)


def test_settings_take_effect_at_once(model: Model) -> None:
    session = PlaySession(model, player="human", temperature=0.0, inside=True)
    session.reset()
    assert (session.settings.denoising_steps, session.settings.order, session.settings.churn) == (2, 1, 0.0)
    for steps in (1, 5):
        session.configure(denoising_steps=steps, order=2)
        view = session.step(0)
        assert view.trajectory is not None
        assert len(view.trajectory) == steps + 1
    before = session.step(0)
    after = session.configure(player="agent")
    assert after.step == before.step
    assert after.policy is not None
    assert session.step(0).action == int(after.policy.argmax())


def test_both_worlds_begin_where_the_real_game_stands(model: Model) -> None:
    session = PlaySession(model, world="real", seed=1, horizon=3, inside=True)
    session.reset()
    views = play(session, [1, 0, 2, 2, 3])
    joined = session.configure(world="both")
    assert joined.step == 0 and joined.context is not None and joined.trajectory is None
    np.testing.assert_array_equal(joined.context, [view.real for view in views[-4:]])
    np.testing.assert_array_equal(joined.dream, joined.real)
    for _ in range(3):
        view = session.step(2)
    assert view.truncated and "horizon" in view.why
    again = session.step(2)  # the dream begins anew, the real game goes on
    np.testing.assert_array_equal(again.real, view.real)
    np.testing.assert_array_equal(again.dream, view.real)
    alone = PlaySession(model, world="real", seed=1)
    alone.reset()
    np.testing.assert_array_equal(play(alone, [1, 0, 2, 2, 3, 2, 2, 2, 1])[-1].real, session.step(1).real)
    session.close()
    alone.close()


def test_train_rules_go_on_after_a_lost_life(model: Model) -> None:
    session = PlaySession(model, world="real", rules="train")
    session.reset()
    ends = 0
    for step in range(600):
        view = session.step(1 if step % 7 == 0 else 0)
        if view.ended:
            ends += 1
            following = session.step(0)
            assert following.step == 0
            assert np.array_equal(following.real, view.real) == (view.why == "a life is lost")
            if view.why == "game over":
                break
    assert ends == 5
    session.close()


def test_a_chosen_start_is_dreamt_only(model: Model) -> None:
    session = PlaySession(model)
    np.testing.assert_array_equal(session.reset(4).dream, model.starts[4].frames[-1])
    with pytest.raises(UserError, match="there is no start 100000"):
        session.reset(100_000)
    session.configure(world="both")
    with pytest.raises(UserError, match="can only be dreamt"):
        session.reset(4)
    session.close()


def test_a_recording_is_played_beside_its_dream(model: Model) -> None:
    library = Library(model.datasets)
    table = library.episode_table("replay", 0)
    session = PlaySession(model, library=library, world="both")
    view = session.play_recording("replay", 0)
    np.testing.assert_array_equal(view.real, library.frame("replay", 0, 0))
    for step in range(3):
        view = session.step(0)
        assert view.action == table["actions"][step]
        np.testing.assert_array_equal(view.real, library.frame("replay", 0, step + 1))
    session.configure(world="dream")
    views = [session.step(0) for _ in range(len(table["actions"]))]
    assert [view.action for view in views] == table["actions"]
    assert views[-1].ended and views[-1].real is None
    assert session.step(0).step == 0  # from its beginning again
    session.step(0)
    taken_over = session.configure(player="human")
    assert taken_over.step == 1  # the dream goes on
    assert session.step(3).action == 3
    with pytest.raises(UserError, match="no step of episode 999"):
        session.play_recording("replay", 999)
    assert session.settings.player == "human"


def test_what_cannot_be_is_one_line_and_changes_nothing(model: Model) -> None:
    session = PlaySession(model)
    view = session.reset()
    for changes in (
        {"denoising_steps": 0},
        {"denoising_steps": 11},
        {"denoising_steps": 2.5},
        {"order": 3},
        {"churn": float("nan")},
        {"temperature": -1.0},
        {"temperature": "hot"},
        {"horizon": 0},
        {"seed": -1},
        {"seed": True},
        {"inside": 1},
        {"world": "other"},
        {"player": "nobody"},
        {"player": "recording"},
        {"rules": "none"},
        {"speed": 3},
    ):
        before = session.settings
        with pytest.raises(UserError) as error:
            session.configure(**changes)
        assert "\n" not in str(error.value)
        assert session.settings == before
    with pytest.raises(UserError, match="action 4 is not one of"):
        session.step(4)
    with pytest.raises(UserError, match="recording is off"):
        session.record(True)
    assert same(session.configure(), view)
    info = session.info()
    assert json.loads(json.dumps(info)) == info
    assert info["worlds"] == {"dream": None, "real": None, "both": None}


def test_a_model_free_run_plays_the_real_game(tmp_path: Path) -> None:
    model = load(make_run(tmp_path / "run", model_free(), replay_steps=0), "cpu")
    session = PlaySession(model)
    assert session.settings.world == "real"
    assert session.info()["worlds"]["dream"] == "this run has no world model"
    view = session.step(0)
    assert view.real is not None and view.dream is None and view.policy is not None and view.context is None
    with pytest.raises(UserError, match="no world model"):
        session.configure(world="both")
    session.close()


def test_a_world_model_without_an_agent_plays(tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    weights = {k: v for k, v in tiny_networks().tensors().items() if not k.startswith("actor_critic")}
    RunFolder(tmp_path / "run").save(2, Checkpoint(weights, {}, {}))
    model = load(tmp_path / "run", "cpu")
    session = PlaySession(model)
    session.reset()
    view = session.step(1)
    assert view.dream is not None and view.policy is None and view.value is None
    assert session.info()["players"]["agent"] == "this run has no agent"
    with pytest.raises(UserError, match="no agent"):
        session.configure(player="agent")


@pytest.mark.parametrize("networks", [(), ("denoiser",)])
def test_a_recording_of_keys_is_dreamt_without_its_game(tmp_path: Path, networks: tuple[str, ...]) -> None:
    model = load(make_shooter_run(tmp_path / "run", networks), "cpu")
    session = PlaySession(model, tmp_path / "records", Library(model.datasets))
    info = session.info()
    assert json.loads(json.dumps(info)) == info
    assert (info["idle"], info["fps"]) == ([0, 0, 0, 0, 1, 0], 20)
    assert info["actions"][0]["keys"] == ["w", "s", "space"] and info["keys"]["mouse x 4"] == "ArrowRight"
    assert "there is no game behind it" in info["worlds"]["real"]
    session.reset()
    session.record(True)
    view = session.step([1, 1, 1, 0, 0, 1])
    assert view.action is not None
    np.testing.assert_array_equal(view.action, [1, 0, 1, 0, 0, 1])  # w and s exclude each other
    assert view.dream is not None and view.end_prob is None if networks else view.end_prob is not None
    assert (view.reward_probs is None, view.policy) == (bool(networks), None)
    np.testing.assert_array_equal(session.step().action, model.spec.actions.idle)
    for wrong in (3, [1, 0, 0], [0, 0, 0, 1, 1, 0], [2, 0, 0, 0, 1, 0]):
        with pytest.raises(UserError):
            session.step(wrong)
    session.configure(player="random")
    drawn = {tuple(np.asarray(session.step().action).tolist()) for _ in range(8)}
    assert len(drawn) > 1
    for action in drawn:
        model.spec.actions.check(action)
        model.spec.actions.decode(action)
    (path,) = session.record(False)
    with Dataset.open(path) as dataset:
        assert dataset.episodes[0].actions[0].tolist() == [1, 0, 1, 0, 0, 1]
        assert (dataset.spec.actions, dataset.spec.rewards) == (model.spec.actions, not networks)
        played = session.play_recording("data", 0)
        assert played.dream is not None
    with Dataset.open(model.datasets["data"]) as dataset:
        np.testing.assert_array_equal(session.step().action, dataset.episodes[0].actions[0])


def test_a_game_that_is_not_here_leaves_the_dream(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    game = (run / "game.json").read_text().replace("atari/Breakout", "gym/NotHere-v0")
    (run / "game.json").write_text(game)
    model = load(run, "cpu")
    session = PlaySession(model)
    assert session.info()["action_names"] == ["NOOP", "FIRE", "RIGHT", "LEFT"]
    assert session.reset().dream is not None
    assert "gym/NotHere-v0: making it raised NameNotFound" in session.info()["worlds"]["real"]
    with pytest.raises(UserError, match="world cannot be real"):
        session.configure(world="real")


@pytest.mark.parametrize("damage", ["nothing", "no checkpoint", "config", "weights", "other networks"])
def test_a_missing_or_corrupt_run_is_one_line(tmp_path: Path, damage: str) -> None:
    run = tmp_path / "run"
    if damage != "nothing":
        make_run(run, replay_steps=0)
    checkpoint = run / "checkpoints" / "00000001"
    if damage == "no checkpoint":
        (run / "checkpoints").rename(run / "elsewhere")
    if damage == "config":
        (run / "config.json").write_text("{")
    if damage == "weights":
        (checkpoint / "weights.safetensors").write_bytes(b"no weights")
    if damage == "other networks":
        (run / "config.json").write_text(
            (run / "config.json").read_text().replace('"cond_channels": 8', '"cond_channels": 16')
        )
    said = {
        "nothing": "is no run folder",
        "no checkpoint": "no checkpoint yet: train it first",
        "config": "cannot read",
        "weights": "delete that folder",
        "other networks": "do not fit this configuration",
    }
    with pytest.raises(UserError, match=said[damage]) as error:
        load(run, "cpu")
    assert "\n" not in str(error.value)


def test_a_packed_model_plays_like_the_run_it_comes_from(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "DEMOS", tmp_path)
    with pytest.raises(UserError, match="no demo model"):
        load("demo", "cpu")
    pack(model, tmp_path / "boxing.zip", starts=5)
    packed = load("demo", "cpu")
    windows, whole = packed.starts.windows(), model.starts.windows()
    assert len(windows) == 5
    np.testing.assert_array_equal(windows[0].frames, whole[0].frames)
    np.testing.assert_array_equal(windows[-1].actions[:-1], whole[-1].actions[:-1])
    first, second = PlaySession(model), PlaySession(packed)
    first.reset(0), second.reset(0)
    drawn, again = first.step(2).dream, second.step(2).dream
    assert drawn is not None and again is not None
    assert np.abs(drawn.astype(int) - again.astype(int)).mean() <= 2, "bfloat16 moves a level or two"
    assert (packed.config, packed.spec) == (SMALL, BREAKOUT)
