"""A data set against a plain list of rows: whatever is appended, cut and reopened, both tell the same."""

import json
import shutil
import tempfile
import tracemalloc
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from diffworld.data import Compress, Dataset, log, read_frames, sample_context_windows, sample_transition_windows
from diffworld.game import ActionSpace, Choice, Encoded, GameSpec, Keys
from diffworld.runtime.errors import UserError

SHAPE = (2, 3, 3)
SIZE = 5  # numbers in an action of keys
KEYS = ActionSpace((Keys(tuple("abcde")),))
BOTH = ActionSpace((Keys(("a", "b")), Choice("c", ("0", "1", "2"))))  # of as many numbers


def game(actions: ActionSpace) -> GameSpec:
    return GameSpec("toy", *SHAPE[:2], actions)


@dataclass(frozen=True)
class Row:
    """A row of the log, as plain values."""

    episode: int
    frame: int
    action: int = 0
    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False
    final: bool = False

    @property
    def ended(self) -> bool:
        return self.terminated or self.truncated


def picture(value: int) -> np.ndarray:
    """A frame that no other value below 2**16 gives."""
    return ((np.arange(18) * 7 + value // 256 * 31 + value) % 256).astype(np.uint8).reshape(SHAPE)


def bits(action: int) -> np.ndarray:
    return (action >> np.arange(SIZE) & 1).astype(np.uint8)


def encoded(actions: ActionSpace, action: int) -> Encoded:
    """The action of that number, below 32."""
    if actions.is_discrete:
        return action
    return bits(action) if actions is KEYS else actions.encode([bits(action)[:2], action % 3])


class ReplayMachine(RuleBasedStateMachine):
    """Random appends to interleaved episodes, cuts and reopenings."""

    actions = ActionSpace.discrete(1 << SIZE)
    compress: Compress = "auto"

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp()) / "data"
        self.dataset = Dataset.create(self.folder, game(self.actions), {"player": "toy"}, self.compress)
        self.log: list[Row] = []
        self.growing: set[int] = set()
        self.next_id = self.counter = 0

    def teardown(self) -> None:
        self.dataset.close()
        shutil.rmtree(self.folder.parent)

    @rule()
    def begin(self) -> None:
        episode = self.dataset.new_episode()
        assert episode == self.next_id
        self.next_id += 1
        self.growing.add(episode)

    @precondition(lambda self: self.growing)
    @rule(
        data=st.data(),
        action=st.integers(0, (1 << SIZE) - 1),
        reward=st.floats(-100, 100, width=32),
        end=st.sampled_from([(False, False)] * 6 + [(True, False), (False, True), (True, True)]),
    )
    def step(self, data: st.DataObject, action: int, reward: float, end: tuple[bool, bool]) -> None:
        episode = data.draw(st.sampled_from(sorted(self.growing)))
        self.counter += 2
        row = Row(episode, self.counter, action, reward, *end)
        final = Row(episode, self.counter + 1, final=True)
        self.dataset.append(
            episode,
            picture(row.frame),
            encoded(self.actions, action),
            reward,
            *end,
            picture(final.frame) if row.ended else None,
        )
        self.log += [row, final] if row.ended else [row]
        if row.ended:
            self.growing.remove(episode)

    @rule(data=st.data())
    def truncate(self, data: st.DataObject) -> None:
        self._cut(data.draw(st.integers(0, len(self.log))))
        self.dataset.truncate(self._num_rows_asked)

    @rule(data=st.data(), cut=st.booleans())
    def reopen(self, data: st.DataObject, cut: bool) -> None:
        self._cut(data.draw(st.integers(0, len(self.log))) if cut else len(self.log))
        self.dataset.close()
        self.dataset = Dataset.open(self.folder, True, self._num_rows_asked if cut else None)
        assert self.dataset.dropped_rows == self._num_rows_asked - len(self.log)

    def _cut(self, num_rows: int) -> None:
        self._num_rows_asked = num_rows
        self.log = self.log[:num_rows]
        if self.log and self.log[-1].ended:
            self.log.pop()
        ids = {row.episode for row in self.log}
        self.growing = ids - {row.episode for row in self.log if row.final}
        self.next_id = max(ids, default=-1) + 1

    @invariant()
    def same(self) -> None:
        steps = [row for row in self.log if not row.final]
        finals = {row.episode: row for row in self.log if row.final}
        ids = list(dict.fromkeys(row.episode for row in steps))
        dataset = self.dataset
        assert (dataset.num_rows, dataset.num_steps) == (len(self.log), len(steps))
        assert dataset.num_episodes == len(dataset.episodes) == len(ids)
        for episode, number in zip(dataset.episodes, ids, strict=True):
            rows = [row for row in steps if row.episode == number]
            assert (episode.id, episode.length) == (number, len(rows))
            assert (episode.terminated, episode.truncated) == (rows[-1].terminated, rows[-1].truncated)
            assert episode.ended == (number in finals)
            assert episode.return_ == pytest.approx(sum(row.reward for row in rows), abs=1e-6)
            assert episode.rewards.tolist() == [row.reward for row in rows]
            actions = [encoded(self.actions, row.action) for row in rows]
            np.testing.assert_array_equal(episode.actions, actions)
            frames = dataset.episode_frames(number)
            np.testing.assert_array_equal(frames, [picture(row.frame) for row in rows])
            if number in finals:
                np.testing.assert_array_equal(dataset.final_frame(number), picture(finals[number].frame))


class KeysMachine(ReplayMachine):
    actions = KEYS


class KeysAndChoiceMachine(ReplayMachine):
    actions = BOTH


class CompressedMachine(ReplayMachine):
    compress = "on"


TestReplayMachine = ReplayMachine.TestCase
TestCompressedMachine = CompressedMachine.TestCase
TestKeysMachine = KeysMachine.TestCase
TestKeysAndChoiceMachine = KeysAndChoiceMachine.TestCase
TestReplayMachine.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
TestKeysMachine.settings = TestKeysAndChoiceMachine.settings = TestReplayMachine.settings
TestCompressedMachine.settings = TestReplayMachine.settings


@pytest.fixture
def dataset(tmp_path: Path):
    with Dataset.create(tmp_path / "data", game(ActionSpace.discrete(4))) as made:
        yield made


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frame": picture(0).astype(np.float32)}, "float32"),
        ({"frame": picture(0)[:1]}, "uint8"),
        ({"action": 4}, "0..3"),
        ({"action": -1}, "0..3"),
        ({"action": 1.0}, "whole number"),
        ({"reward": float("nan")}, "finite"),
        ({"terminated": True}, "final_frame"),
        ({"final_frame": picture(1)}, "final_frame"),
        ({"truncated": True, "final_frame": picture(1)[:1]}, "uint8"),
        ({"episode": 1}, "new_episode"),
    ],
)
def test_bad_step_is_refused_and_changes_nothing(dataset: Dataset, change: dict, message: str) -> None:
    step = {"episode": dataset.new_episode(), "frame": picture(0), "action": 0, "reward": 0.0}
    step |= {"terminated": False, "truncated": False}
    with pytest.raises(UserError, match=message):
        dataset.append(**(step | change))
    assert dataset.num_rows == 0
    dataset.append(**step)
    assert dataset.num_rows == 1


def test_ended_episode_takes_no_more_steps(dataset: Dataset) -> None:
    episode = dataset.new_episode()
    with pytest.raises(UserError, match="no step"):
        dataset.episode_frames(episode)
    dataset.append(episode, picture(0), np.int64(3), -1.0, False, False)
    with pytest.raises(UserError, match="not ended"):
        dataset.final_frame(episode)
    dataset.append(episode, picture(1), 3, 2.5, False, True, picture(2))
    with pytest.raises(UserError, match="ended"):
        dataset.append(episode, picture(3), 0, 0.0, False, False)
    dataset.close()
    with Dataset.open(dataset.path, writable=True) as dataset:
        with pytest.raises(UserError, match="ended"):
            dataset.append(episode, picture(3), 0, 0.0, False, False)
        dataset.truncate(1)
        dataset.append(episode, picture(3), 0, 0.0, False, False)
        assert dataset.episodes[0].length == 2


def test_episodes_one_by_one_and_sliced(dataset: Dataset) -> None:
    episode = dataset.new_episode()
    dataset.append(episode, picture(0), 3, -1.0, False, False)
    dataset.append(episode, picture(1), 3, 2.5, False, True, picture(2))
    assert dataset.episodes[0].return_ == 1.5
    assert dataset.episodes[-1:][0].truncated


@pytest.mark.parametrize("action", [np.ones(SIZE + 1), np.full(SIZE, 2), np.full(SIZE, 0.5), 1])
def test_an_action_of_keys_is_zeros_and_ones(tmp_path: Path, action: object) -> None:
    with Dataset.create(tmp_path, game(KEYS)) as dataset:
        episode = dataset.new_episode()
        with pytest.raises(UserError, match="zeros and ones"):
            dataset.append(episode, picture(0), action, 0.0, False, False)
        assert dataset.num_rows == 0


def test_one_writer_and_any_reader(dataset: Dataset) -> None:
    episode = dataset.new_episode()
    dataset.append(episode, picture(0), 0, 1.0, False, False)
    with pytest.raises(UserError, match="another process"):
        Dataset.open(dataset.path, writable=True)
    with Dataset.open(dataset.path) as reader:
        dataset.append(episode, picture(1), 0, 1.0, False, False)
        assert reader.num_rows == 1  # what was there when it opened
        for change in (
            lambda: reader.truncate(0),
            lambda: reader.append(0, picture(2), 0, 0.0, False, False),
        ):
            with pytest.raises(UserError, match="read-only"):
                change()
    assert dataset.num_rows == 2
    dataset.close()
    for use in (lambda: dataset.episode_frames(episode), dataset.sync, lambda: dataset.truncate(1)):
        with pytest.raises(UserError, match="closed"):
            use()
    Dataset.open(dataset.path, writable=True).close()


def test_a_reader_sees_new_rows_when_it_is_told_of_them(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = dataset.new_episode(), dataset.new_episode()
    dataset.append(first, picture(0), 0, 1.0, False, False)
    with Dataset.open(dataset.path) as reader:
        assert np.array_equal(reader.episode_frames(first), [picture(0)])
        read: list[int] = []
        pread = log.os.pread
        monkeypatch.setattr(log.os, "pread", lambda fd, size, at: read.append(size) or pread(fd, size, at))
        for value in range(1, 4):
            dataset.append(second, picture(value), 1, 0.5, value == 3, False, picture(9) if value == 3 else None)
            reader.refresh(dataset.num_rows)
            assert reader.num_rows == dataset.num_rows and reader.num_steps == dataset.num_steps == value + 1
        size = dataset.schema.record.itemsize
        assert read == [size, size, 2 * size], "nothing is read again"
        for data in (reader, dataset):
            assert list(data.episodes.lengths) == [1, 3] and list(data.episodes.ended) == [False, True]
            assert np.array_equal(data.episode_frames(second), [picture(value) for value in (1, 2, 3)])
            assert np.array_equal(data.final_frame(second), picture(9))
        reader.refresh(2)  # of fewer it knows already
        assert reader.num_rows == 5
        monkeypatch.setattr(log, "SEEN_SECONDS", 0.0)
        with pytest.raises(UserError, match=r"has 5 rows as this machine sees it, and 6 .* all machines share"):
            reader.refresh(6)
        assert reader.num_rows == 5


def test_truncate_beyond_the_log(dataset: Dataset) -> None:
    dataset.append(dataset.new_episode(), picture(0), 0, 1.0, False, False)
    dataset.sync()
    for rows in (-1, 2):
        with pytest.raises(UserError, match="holds 1 rows"):
            dataset.truncate(rows)
        with pytest.raises(UserError, match="holds 1 rows"):
            Dataset.open(dataset.path, num_rows=rows)


def test_episodes_are_a_snapshot(dataset: Dataset) -> None:
    episode = dataset.new_episode()
    dataset.append(episode, picture(0), 1, 1.0, False, False)
    dataset.append(episode, picture(1), 2, 2.0, False, False)
    before = dataset.episodes
    dataset.truncate(1)
    dataset.append(episode, picture(2), 3, 3.0, False, False)
    assert before[0].rewards.tolist() == [1, 2]
    assert dataset.episodes[0].rewards.tolist() == [1, 3]
    assert dataset.episodes[0].actions.tolist() == [1, 3]


@pytest.mark.parametrize(
    ("height", "width", "form"), [(127, 129, "raw"), (128, 128, "webp"), (64, 256, "webp"), (1, 2**14, "raw")]
)
def test_large_frames_are_compressed_unless_told_otherwise(tmp_path: Path, height: int, width: int, form: str) -> None:
    spec = GameSpec("", height, width, ActionSpace.discrete(2))
    for number, (compress, expected) in enumerate([("auto", form), ("off", "raw")]):
        Dataset.create(tmp_path / str(number), spec, compress=compress).close()
        with Dataset.open(tmp_path / str(number)) as dataset:
            assert dataset.schema.frames == expected
            description = json.loads((dataset.path / "dataset.json").read_text())
            assert description["frames"] == expected
            assert description["format_version"] == {"raw": 2, "webp": 3}[expected]
    if width == 2**14:
        with pytest.raises(UserError, match="too large to be compressed: leave out --compress on"):
            Dataset.create(tmp_path / "large", spec, compress="on")


@given(shape=st.tuples(st.integers(1, 40), st.integers(1, 40)), seed=st.integers(0, 2**32), flat=st.integers(0, 8))
def test_compressed_frames_come_back_bit_for_bit(shape: tuple[int, int], seed: int, flat: int) -> None:
    """Whatever they show, from noise to a single colour; and the same ones are packed to the same bytes."""
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 256, (9, *shape, 3), dtype=np.uint8) >> flat
    with tempfile.TemporaryDirectory() as folder:
        with Dataset.create(folder, GameSpec("", *shape, ActionSpace.discrete(2)), compress="on") as dataset:
            episode = dataset.new_episode()
            for frame in frames:
                packed = dataset.pack(frame)
                assert packed == dataset.pack(frame.copy())
                dataset.append(episode, packed, 0, 0.0, False, False)
            np.testing.assert_array_equal(dataset.episode_frames(episode), frames)
        with Dataset.open(folder) as dataset:
            rows = rng.integers(0, 9, (5, 4))
            np.testing.assert_array_equal(dataset.gather_frames(rows), frames[rows])
            np.testing.assert_array_equal(
                read_frames(dataset.path, dataset.schema, dataset.episodes.records, rows[0]), frames[rows[0]]
            )


@pytest.mark.parametrize("compress", ["off", "on"])
def test_frames_stay_on_disk(tmp_path: Path, compress: Compress) -> None:
    frame = np.zeros((64, 64, 3), np.uint8)
    with Dataset.create(tmp_path, GameSpec("", 64, 64, ActionSpace.discrete(2)), compress=compress) as dataset:
        episode = dataset.new_episode()
        for step in range(1500):
            dataset.append(episode, frame + np.uint8(step % 256), 0, 0.0, False, False)
    tracemalloc.start()
    try:
        with Dataset.open(tmp_path, writable=True) as dataset:
            rng = np.random.default_rng(0)
            for _ in range(20):
                sample_context_windows(dataset, rng, 8, 6)
                sample_transition_windows(dataset, rng, 8, 6)
                dataset.append(episode, frame, 0, 0.0, False, False)
            peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1500 * frame.nbytes / 8
