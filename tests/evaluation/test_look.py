"""Looking at a data set: what is said of it, what the page holds, and whether actions belong to their frames."""

import io
import re
from collections.abc import Sequence
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from diffworld.cli import main
from diffworld.data import Dataset
from diffworld.evaluation.look import Alignment, check_alignment, look, summary
from diffworld.evaluation.look.alignment import FEWEST_STEPS
from diffworld.game import ActionSpace, Choice, GameSpec, Keys
from diffworld.runtime.errors import UserError

KEYS = Keys(("left", "right", "up", "down"))
WAYS = ((0, -2), (0, 2), (-2, 0), (2, 0))
Episodes = list[tuple[list[NDArray[np.uint8]], list[NDArray[np.uint8] | int]]]


def boat(steps: int, hold: float) -> Episodes:
    """A light on water: two rows of pixels a key a step, each key held for a while."""
    rng = np.random.default_rng(1)
    place, action, frames, actions = np.array([6, 8]), np.zeros(4, np.uint8), [], list[NDArray[np.uint8] | int]()
    for _ in range(steps + 1):
        frame = np.full((12, 16, 3), (20, 40, 90), np.uint8)
        frame[place[0] : place[0] + 2, place[1] : place[1] + 2] = (240, 220, 120)
        frames.append(frame)
        if rng.random() >= hold:
            action = np.eye(5, 4, dtype=np.uint8)[rng.integers(5)]
        actions.append(action)
        place = (place + action @ np.array(WAYS)) % (12, 16)
    return [(frames, actions[:steps])]


def camera(steps: int) -> Episodes:
    """A view that turns with the mouse, over a wall of random bricks; a choice beside a key that does nothing."""
    rng = np.random.default_rng(2)
    wall = rng.integers(0, 255, (12, 64, 3), dtype=np.uint8).repeat(2, axis=1)
    at, frames, actions = 0, [], list[NDArray[np.uint8] | int]()
    for _ in range(steps + 1):
        frames.append(np.roll(wall, -at, axis=1)[:, :16])
        turn = int(rng.integers(3))
        actions.append(np.array([rng.integers(2), *np.eye(3)[turn]], np.uint8))
        at += 3 * (turn - 1)
    return [(frames, actions[:steps])]


def catch(games: int) -> Episodes:
    """The block that falls, in episodes of six steps."""
    env = gymnasium.make("tests.games.catch:Catch-v0", disable_env_checker=True)
    rng, found = np.random.default_rng(3), Episodes()
    for game in range(games):
        frames, actions, over = [env.reset(seed=game)[0]], list[NDArray[np.uint8] | int](), False
        while not over:
            actions.append(int(rng.integers(3)))
            frame, _, over, _, _ = env.step(actions[-1])
            frames.append(frame)
        found.append((frames, actions))
    return found


def atari(steps: int) -> Episodes:
    """Breakout through ale-py, keys held for a while."""
    from diffworld.envs import EnvironmentConfig, make_env

    env = make_env("atari/Breakout", EnvironmentConfig(height=24, width=24, life_loss_ends=False), 1)
    rng, found, action = np.random.default_rng(4), Episodes(), 1
    frame = env.reset(seeds=[0])[0]
    frames, actions = [frame], list[NDArray[np.uint8] | int]()
    for step in range(steps):
        action = int(rng.integers(4)) if rng.random() < 0.5 else action
        taken = env.step(np.array([action]))
        frames.append(taken.frames[0])
        actions.append(action)
        if taken.needs_reset[0] or step == steps - 1:
            found.append((frames, actions))
            frames, actions = [env.reset(seeds=[step])[0]], list[NDArray[np.uint8] | int]()
    env.close()
    return found


SPACES = {
    "boat": ActionSpace((KEYS,)),
    "camera": ActionSpace((Keys(("jump",)), Choice("mouse x", ("-1", "0", "1")))),
    "catch": ActionSpace.discrete(3),
    "breakout": ActionSpace.discrete(4),
}
PLAYED = {
    "boat": lambda: boat(1500, 0.7),
    "camera": lambda: camera(900),
    "catch": lambda: catch(250),
    "breakout": lambda: atari(4000),
}


@pytest.fixture(scope="module")
def played() -> dict[str, Episodes]:
    return {}


def write(path: Path, actions: ActionSpace, episodes: Episodes, late: int = 0) -> Path:
    """A data set of those episodes, whose actions are stored so many steps too late."""
    height, width = episodes[0][0][0].shape[:2]
    with Dataset.create(path, GameSpec("game", height, width, actions)) as data:
        for frames, taken in episodes:
            steps = [t for t in range(len(taken)) if 0 <= t - late < len(taken)]
            if not steps:
                continue
            episode = data.new_episode()
            for t in steps:
                last = t == steps[-1]
                data.append(episode, frames[t], taken[t - late], 0.0, False, last, frames[t + 1] if last else None)
    return path


@pytest.mark.parametrize("late", [-2, -1, 0, 1, 2])
@pytest.mark.parametrize("game", PLAYED)
@pytest.mark.cases(every=21)
def test_the_shift_is_found(game: str, late: int, tmp_path: Path, played: dict[str, Episodes]) -> None:
    if game not in played:
        played[game] = PLAYED[game]()
    with Dataset.open(write(tmp_path / "data", SPACES[game], played[game], late)) as data:
        found = check_alignment(data, shifts=3)
    assert found.best == late and found.sure >= 0.95, found
    assert found.share > 0.05
    expected = {0: "belong to their frames", -1: "1 step early", 2: "2 steps late"}
    if late in expected:
        assert expected[late] in found.verdict(3)
    assert (f"--shift {3 + late}" in found.verdict(3)) == bool(late)


@pytest.mark.thorough
def test_actions_that_do_nothing_are_told(tmp_path: Path) -> None:
    frames, actions = boat(600, 0)[0]
    rng = np.random.default_rng(0)
    strange = [np.eye(4, dtype=np.uint8)[rng.integers(4)] for _ in actions]
    with Dataset.open(write(tmp_path / "data", SPACES["boat"], [(frames, strange)])) as data:
        found = check_alignment(data, shifts=1)
    assert "says nothing of the actions" in found.verdict(), found


@pytest.mark.thorough
def test_an_action_that_is_always_the_same_is_told(tmp_path: Path) -> None:
    frames, actions = boat(300, 0)[0]
    same = [np.array([0, 1, 0, 0], np.uint8)] * len(actions)
    with Dataset.open(write(tmp_path / "data", SPACES["boat"], [(frames, same)])) as data:
        assert "says nothing of the actions" in check_alignment(data, shifts=1).verdict()
        assert any("right is always pressed" in warning for warning in look(data).warnings)


def test_too_few_steps_are_one_line(tmp_path: Path) -> None:
    short = boat(FEWEST_STEPS - 2, 0)
    with (
        Dataset.open(write(tmp_path / "data", SPACES["boat"], short)) as data,
        pytest.raises(UserError, match="too few steps to check: 199, not 200"),
    ):
        check_alignment(data)


@pytest.mark.thorough
def test_the_same_data_give_the_same_answer_and_no_random_state_is_touched(tmp_path: Path) -> None:
    with Dataset.open(write(tmp_path / "data", SPACES["catch"], catch(60))) as data:
        torch.manual_seed(5)
        first = check_alignment(data, shifts=1)
        drawn = torch.rand(3)
        torch.manual_seed(5)
        assert torch.equal(drawn, torch.rand(3)) and check_alignment(data, shifts=1) == first


@pytest.mark.parametrize(
    ("gains", "best", "sure", "said"),
    [
        ({-1: 0.0, 0: 0.5, 1: 0.1}, 0, 0.999, "actions belong to their frames (sure to 100%)"),
        ({-1: 0.4, 0: 0.1, 1: 0.1}, -1, 0.97, "actions are 1 step early (sure to 97%): import again with --shift 0"),
        ({-1: 0.1, 0: 0.2, 1: 0.3}, 1, 0.6, "which shift is right, the check cannot tell (likeliest +1, to 60%)"),
        ({-1: -0.1, 0: 0.1, 1: -0.1}, 0, 1.0, "the next frame says nothing of the actions"),
    ],
)
def test_the_verdict(gains: dict[int, float], best: int, sure: float, said: str) -> None:
    verdict = Alignment(gains, best, sure, error=0.05, unknown=1.0, steps=1_000).verdict(imported_shift=1)
    assert said in verdict and "few" not in verdict


def test_nothing_found_in_few_steps_is_no_reproach() -> None:
    found = Alignment({0: 0.0}, 0, 1.0, error=0.05, unknown=1.0, steps=100).verdict()
    assert "the 100 steps that were tested are few to tell by" in found and "other actions" not in found


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """20 steps in two episodes, of 17 and 3: 4 black frames, 5 that repeat the one before; "jump" is never pressed."""
    actions = ActionSpace((Keys(("walk", "jump", "run")), Choice("mouse x", ("-1", "0", "1"))))
    rng = np.random.default_rng(0)
    frames = rng.integers(100, 255, (22, 8, 10, 3), dtype=np.uint8)
    frames[2:6] = 0  # of which three repeat the first
    frames[10] = frames[9]
    frames[15] = frames[14]
    with Dataset.create(tmp_path / "odd", GameSpec("odd", 8, 10, actions, 10, rewards=True, ends=False)) as data:
        at = 0
        for steps in (17, 3):
            episode = data.new_episode()
            for t in range(steps):
                last = t == steps - 1
                action = np.array([at % 2, 0, 1, *np.eye(3, dtype=int)[0 if at < 5 else 2]])
                data.append(episode, frames[at], action, 2.0, False, last, frames[at + 1] if last else None)
                at += 1
    return tmp_path / "odd"


def test_what_is_seen_is_right(odd: Path) -> None:
    with Dataset.open(odd) as data:
        seen = look(data)
    assert seen.seconds == 2 and seen.steps == 20 and seen.lengths.tolist() == [17, 3] and seen.ended == 2
    keys, mouse = seen.parts
    assert keys.shares == {"walk": 0.5, "jump": 0.0, "run": 1.0} and not keys.choice
    assert mouse.shares == {"-1": 0.25, "0": 0.0, "1": 0.75} and mouse.choice
    assert (seen.black, seen.repeated, seen.looked) == (4, 5, 20)
    assert seen.rewards == "rewards known, 20 an episode"
    assert [warning.partition(":")[0] for warning in seen.warnings] == [
        "jump is never pressed",
        "run is always pressed",
        "mouse x is never 0",
        "4 frames (20.0%) are black",
        "1 of 2 episodes have fewer than 5 steps, less than a context",
    ]
    sheet = Image.open(io.BytesIO(seen.sheet))
    assert sheet.width > 6 * 160 and np.asarray(sheet).std() > 20


def test_of_many_frames_stretches_from_all_over_are_looked_at(odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "MOST", 10)
    monkeypatch.setattr(summary, "_BYTES", 4 * 8 * 10 * 3)
    with Dataset.open(odd) as data:
        seen = look(data)
    # Of stretches of four frames every other one, in each episode from its first on: 0 to 3, 8 to 11, and 16.
    assert (seen.black, seen.repeated, seen.looked) == (2, 2, 9)
    assert "9 frames from all over were looked at" in seen.lines()
    assert "2 frames (22.2%) are black" in " ".join(seen.warnings)


@pytest.mark.parametrize(("by", "repeated"), [(8, 9), (40, 0)])
def test_a_small_thing_that_moves_is_no_frame_that_repeats_and_noise_of_a_codec_is(
    by: int, repeated: int, tmp_path: Path
) -> None:
    """Of frames of 40x64, in each of which a single pixel is that much brighter, another one each time."""
    spec = GameSpec("dot", 40, 64, ActionSpace((Keys(("go",)),)), 10, rewards=False, ends=False)
    frames = np.full((11, 40, 64, 3), 100, np.uint8)
    for at, frame in enumerate(frames):
        frame[at, at] += by
    with Dataset.create(tmp_path / "dot", spec) as data:
        episode = data.new_episode()
        for at in range(10):
            final = frames[10] if at == 9 else None
            data.append(episode, frames[at], np.array([at % 2]), 0.0, False, at == 9, final)
    with Dataset.open(tmp_path / "dot") as data:
        assert look(data).repeated == repeated


def command(*arguments: str | Path) -> int:
    return main(["data", *map(str, arguments)])


def test_the_command_says_and_shows(odd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(odd) == 0
    said = capsys.readouterr().out
    assert "odd: 2 seconds of play, 20 steps, 10 a second" in said
    assert "2 episodes, 3 to 17 steps each; frames of 8x10; rewards known, 20 an episode" in said
    assert "keys: run 100.0%, walk 50.0%, jump 0.0%" in said and "mouse x: -1 25.0%, 0 0.0%, 1 75.0%" in said
    assert "warning: jump is never pressed" in said
    page = (odd / "look.html").read_text()
    assert "jump is never pressed" in page and "data:image/png;base64," in page
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", page) and "<script" not in page


def test_a_page_elsewhere(odd: Path, tmp_path: Path) -> None:
    assert command(odd, "--page", tmp_path / "pages" / "odd.html") == 0
    assert (tmp_path / "pages" / "odd.html").exists() and not (odd / "look.html").exists()


def test_names_of_a_data_set_cannot_become_markup(tmp_path: Path) -> None:
    actions = ActionSpace((Keys(("<script>alert(1)</script>",)),))
    name = "<img src=x onerror=alert(1)>"
    with Dataset.create(tmp_path / "data", GameSpec(name, 8, 8, actions)) as data:
        data.append(data.new_episode(), np.zeros((8, 8, 3), np.uint8), np.array([1]), 0.0, False, False)
    assert command(tmp_path / "data") == 0
    page = (tmp_path / "data" / "look.html").read_text()
    assert "<script>" not in page and "<img src=x" not in page


BAD: Sequence[tuple[list[str], str]] = [
    (["/nowhere"], "no data set at /nowhere"),
    (["EMPTY"], "has no steps to look at"),
    (["ODD", "--shifts", "0"], "--shifts is 0; it must be at least 1"),
    (["ODD", "--check-alignment"], "too few steps to check: 22, not 200"),
    (["ODD", "--page", "/proc/look.html"], "cannot write /proc/look.html"),
    ([], "DATA"),
]


@pytest.mark.parametrize(("arguments", "said"), BAD, ids=[" ".join(arguments) for arguments, _ in BAD])
def test_bad_input_is_one_line(
    arguments: list[str], said: str, odd: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Dataset.create(tmp_path / "empty", GameSpec("empty", 8, 8, ActionSpace.discrete(2))).close()
    places = {"ODD": str(odd), "EMPTY": str(tmp_path / "empty")}
    assert command(*[places.get(argument, argument) for argument in arguments]) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1 and said in errors, errors
