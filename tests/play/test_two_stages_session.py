"""A session in two stages: both frames, ways of drawing for each, and what was done after a start, done again."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from tiny_run import AIMED, make_two_stages_run

from diffworld.data import Dataset
from diffworld.play.session import PlaySession
from diffworld.play.settings import Settings
from diffworld.play.view import describe
from diffworld.runs import Model, load
from diffworld.runtime.errors import UserError


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(make_two_stages_run(tmp_path_factory.mktemp("two") / "run"), "cpu")


def test_both_stages_are_seen(model: Model) -> None:
    session = PlaySession(model, seed=1, inside=True, denoising_steps=2, upsampling_steps=3)
    start = session.reset()
    assert start.dream is not None and start.small is not None and start.small_context is not None
    assert start.dream.shape == (16, 16, 3) and start.small.shape == (8, 8, 3)
    assert start.small_context.shape == (4, 8, 8, 3) and start.context is not None
    assert start.context.shape == (1, 16, 16, 3) and start.trajectory is None and start.small_trajectory is None
    view = session.step()
    assert view.trajectory is not None and view.small_trajectory is not None and view.small is not None
    assert view.trajectory.shape == (4, 16, 16, 3) and view.small_trajectory.shape == (3, 8, 8, 3)
    np.testing.assert_array_equal(view.trajectory[-1], view.dream)
    np.testing.assert_array_equal(view.small_trajectory[-1], view.small)
    np.testing.assert_array_equal(view.context[0], start.dream)  # type: ignore[index]
    np.testing.assert_array_equal(view.small_context[-1], start.small)  # type: ignore[index]
    assert {"denoiser", "upsampler"} <= view.milliseconds.keys()
    told, pictures = describe(view)
    assert {"small", "small_context", "small_trajectory"} <= pictures.keys() and "small" not in told
    assert pictures["small_trajectory"].shape == (8, 24, 3)  # type: ignore[union-attr]
    plain = PlaySession(model, seed=1)
    plain.reset()
    seen = plain.step()
    assert seen.small is not None and seen.small_context is None and seen.small_trajectory is None


def test_each_stage_draws_as_it_is_told(model: Model) -> None:
    own = model.require_world().samplers
    settings = Settings.of(model)
    assert settings.samplers(own) == own, "unless told otherwise each draws as the model does"
    assert (settings.denoising_steps, settings.upsampling_steps) == (1, 1)
    first, second = settings.changed({"denoising_steps": 3, "upsampling_steps": 10, "churn": 1.0}).samplers(own)
    assert (first.denoising_steps, first.churn, second.denoising_steps) == (3, 1.0, 10)
    assert second.churn == own[1].churn and first.sigma_context == own[0].sigma_context
    session = PlaySession(model, seed=2)
    assert session.info()["stages"] == 2
    assert session.info()["mouse"] == {"mouse x": [-30, -6, 0, 6, 30], "mouse y": [-6, 0, 6]}
    with pytest.raises(UserError, match="upsampling_steps is 11"):
        session.configure(upsampling_steps=11)


def test_what_was_done_after_a_start_is_done_again_and_then_it_ends(model: Model) -> None:
    session = PlaySession(model, seed=0, player="replay")
    window = model.starts[len(model.starts.windows()) - 5]
    with Dataset.open(model.datasets["data"]) as dataset:
        episode = dataset.episodes[dataset.episodes.position(window.episode)]
        expected = episode.actions[window.step :]
    assert len(expected) == 5
    np.testing.assert_array_equal(window.following, expected)
    session.reset(len(model.starts.windows()) - 5)
    views = [session.step(AIMED.actions.idle) for _ in expected]
    np.testing.assert_array_equal([view.action for view in views], expected)
    assert [view.truncated for view in views] == [False] * 4 + [True]
    assert views[-1].why == "what was done after this start ends here"
    begun = session.step()
    assert begun.step == 0, "and the next start follows"
    session.reset(len(model.starts.windows()) - 5)
    session.step()
    session.rewind(1)
    np.testing.assert_array_equal(session.step().action, expected[0])
    session.step()
    assert session.configure(player="human").step == 2
    assert session.configure(player="replay").step == 0, "from the start of the episode on"
    np.testing.assert_array_equal(session.step().action, expected[0])
    session.configure(player="human")
    np.testing.assert_array_equal(session.step().action, AIMED.actions.idle)


def test_a_replay_is_of_the_dream_alone(model: Model) -> None:
    settings = Settings(**{**asdict(Settings.of(model)), "player": "replay", "world": "both"})
    with pytest.raises(UserError, match=r"played in the dream alone|cannot be both"):
        settings.check(model)


def test_two_stages_are_recorded_in_large_frames(model: Model, tmp_path: Path) -> None:
    session = PlaySession(model, recordings=tmp_path, seed=0)
    session.reset()
    session.record(True)
    for _ in range(4):
        session.step()
    (path,) = session.record(False)
    with Dataset.open(path) as data:
        assert data.spec.frame_size == (16, 16) and data.num_steps == 4
