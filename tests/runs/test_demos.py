"""The models that come with the package: they dream, and their agents look at the screen."""

from pathlib import Path

import numpy as np
import pytest
import torch

from diffworld.commands.play import main as play
from diffworld.envs import ActionCounter
from diffworld.evaluation.blind import play_blind
from diffworld.evaluation.games import TestGames, scores
from diffworld.evaluation.statistics import clearly_above, mean_interval
from diffworld.runs import load, window_tensors
from diffworld.runs.loading import demo_names
from diffworld.runtime.frames import frames_from_bytes
from diffworld.runtime.progress import Display
from diffworld.world.noise import generator_noise

NAMES = demo_names()
WITH_AGENTS = ["breakout"]


@pytest.mark.parametrize("name", NAMES)
def test_a_demo_dreams_from_its_own_starts(name: str) -> None:
    model = load(f"demo/{name}", "cpu")
    world, noise = model.require_world(), generator_noise(torch.Generator().manual_seed(0))
    state = world.start(*window_tensors([model.starts[0]], model.device))
    frames = [state.frame]
    for action in model.spec.actions.sample(np.random.default_rng(0), 3):
        state, drawn = world.step(state, torch.as_tensor(action)[None], noise)
        assert drawn.frames.shape == frames[0].shape and drawn.frames.isfinite().all()
        frames.append(drawn.frames)
    assert len({frame.numpy().tobytes() for frame in frames}) == 4, "something moves"
    assert "\n" not in model.no_game and (not model.no_game or "pip install" in model.no_game)


@pytest.mark.parametrize("name", NAMES)
def test_a_demo_is_named_where_users_look(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        play(["--help"])
    words = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert name in words.partition("--demo NAME")[2].partition("--env")[0]
    root = Path(__file__).parents[2]
    for file in ("README.md", "docs/environment.md", "docs/results.md"):
        assert name in (root / file).read_text(encoding="utf-8"), file


def test_there_are_two_or_more_and_one_with_an_agent() -> None:
    assert len(NAMES) >= 2
    assert [name for name in NAMES if load(f"demo/{name}", "cpu").policy is not None] == WITH_AGENTS


@pytest.mark.parametrize("name", WITH_AGENTS)
def test_what_an_agent_does_depends_on_the_screen(name: str) -> None:
    model = load(f"demo/{name}", "cpu")
    agent, frames = model.require_policy(), torch.stack([torch.from_numpy(w.frames) for w in model.starts.windows()])
    seen = frames_from_bytes(frames)  # (windows, n, 3, H, W)
    logits, _, _ = agent(seen[:, -1], agent.burn_in(seen[:, :-1]))
    probs = logits.softmax(-1)
    assert len(set(probs.argmax(-1).tolist())) > 1
    assert float(probs.std(dim=0).max()) > 0.1


@pytest.mark.parametrize("name", WITH_AGENTS)
def test_an_agent_beats_those_who_do_not_look(name: str) -> None:
    model = load(f"demo/{name}", "cpu")
    tests, pressed = TestGames(model.spec, 0, 10, 1.0), ActionCounter()
    played = tests.play(model.require_policy(), 20, on_step=pressed)
    agent = mean_interval(scores(played))
    blind = play_blind(tests, pressed, 20, Display()).scores
    assert clearly_above(agent, blind.constant) and clearly_above(agent, blind.mixture)
