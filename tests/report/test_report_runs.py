"""What a report takes from run folders: which test counts, what a method is, what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from run_folders import BENCHMARK_CONFIG, make_run

from diffworld.config import Config
from diffworld.envs import EnvironmentConfig, EpisodeResult
from diffworld.evaluation.blind import BlindGames, BlindScores
from diffworld.evaluation.protocol import ATARI_100K
from diffworld.evaluation.saved import Evaluation, save_evaluation
from diffworld.evaluation.statistics import Interval
from diffworld.game import ActionSpace, GameSpec
from diffworld.models.sampler import SamplerConfig
from diffworld.report.runs import label, method_of, named, read_run
from diffworld.runtime.errors import UserError


def evaluate(path: Path, score: float, games: int, checkpoint: int = 5, **changes: object) -> None:
    evaluation = Evaluation(
        env="atari/Breakout",
        policy="agent",
        checkpoint=checkpoint,
        finished=True,
        env_steps=100_000,
        wall_seconds=7199.0,
        temperature=1.0,
        test_seed=0,
        num_envs=2,
        protocol=ATARI_100K,
        episodes=tuple(EpisodeResult(i, score, 10, False) for i in range(games)),
    )
    save_evaluation(path, replace(evaluation, **changes), None)  # type: ignore[arg-type]


def with_checkpoints(path: Path, *numbers: int) -> Path:
    for number in numbers:
        (path / "checkpoints" / f"{number:08d}").mkdir(parents=True)
    return path


def test_a_finished_run(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path / "run", seed=4, film=True))
    assert (run.game, run.method, run.seed) == ("Breakout", "diffworld atari100k", 4)
    assert run.interval.mean == 30
    assert run.random is not None
    assert run.random.mean == 1.5
    assert run.test.blind is None, "measured in no run of before"
    assert run.comparable
    assert run.finished
    assert run.film == tmp_path / "run" / "dream.mp4"
    assert len(run.metrics) == 5


@pytest.mark.parametrize(("constant", "remarked"), [(10.0, False), (28.0, True)])
def test_those_who_do_not_look_are_read_beside_the_agent(tmp_path: Path, constant: float, remarked: bool) -> None:
    run = read_run(make_run(tmp_path / "run", scores=[20.0, 40.0] * 9, constant=constant))
    assert run.test.blind == BlindScores("UP", Interval(*[constant] * 3), Interval(*[constant - 5] * 3))
    assert ("no better than a player who never looks at the screen" in run.remarks) == remarked


def test_those_who_do_not_look_are_of_the_test_that_counts(tmp_path: Path) -> None:
    path = with_checkpoints(make_run(tmp_path / "run", constant=1.0), 5)
    games = tuple(EpisodeResult(i, 7.0, 10, False) for i in range(100))
    evaluate(path, 50.0, games=100, blind=BlindGames("DOWN", games, games))
    blind = read_run(path).test.blind
    assert blind is not None and (blind.action, blind.constant.mean) == ("DOWN", 7)


def test_the_evaluation_with_most_games_counts(tmp_path: Path) -> None:
    path = with_checkpoints(make_run(tmp_path / "run"), 4, 5)
    evaluate(path, 50.0, games=100)
    evaluate(path, 60.0, games=10)
    assert read_run(path).interval.mean == 50
    assert read_run(path).remarks == []


def test_the_last_test_counts_if_it_has_more_games(tmp_path: Path) -> None:
    path = with_checkpoints(make_run(tmp_path / "run", scores=[7.0] * 9), 5)
    evaluate(path, 50.0, games=3)
    assert read_run(path).interval.mean == 7


def test_more_training_counts_before_more_games(tmp_path: Path) -> None:
    path = with_checkpoints(make_run(tmp_path / "run"), 5)
    evaluate(path, 50.0, games=200, checkpoint=3)
    assert read_run(path).interval.mean == 30


@pytest.mark.parametrize("change", [{"temperature": 0.1}, {"test_seed": 8}])
def test_the_runs_own_way_of_testing_comes_first(tmp_path: Path, change: dict[str, object]) -> None:
    path = with_checkpoints(make_run(tmp_path / "run"), 5)
    evaluate(path, 50.0, games=200, **change)
    assert read_run(path).interval.mean == 30
    (path / "summary.json").unlink()
    assert read_run(path).interval.mean == 50
    assert "tested otherwise" in " ".join(read_run(path).remarks)


def test_an_unfinished_run_that_was_evaluated(tmp_path: Path) -> None:
    path = with_checkpoints(make_run(tmp_path / "run"), 5, 6)
    (path / "summary.json").unlink()
    evaluate(path, 50.0, games=100, env_steps=60_000)
    run = read_run(path)
    assert run.departures == ("60,000 real steps (benchmark: 100,000)",)
    assert run.remarks == ["training unfinished", "trained on after this test: evaluate it again"]


def test_other_rules_set_a_run_apart(tmp_path: Path) -> None:
    config = replace(BENCHMARK_CONFIG, environment=EnvironmentConfig(sticky_actions=0.25))
    run = read_run(make_run(tmp_path / "run", config=config))
    assert run.departures == ("sticky actions with probability 0.25 (benchmark: 0)",)


def test_what_makes_a_method() -> None:
    def called(config: Config) -> str:
        return label(*method_of(config)[1:])

    assert called(replace(BENCHMARK_CONFIG, seed=9, env="atari/Pong", device="cpu")) == "diffworld atari100k"
    three = replace(BENCHMARK_CONFIG, sampler=SamplerConfig(denoising_steps=9))
    assert called(three) == "diffworld atari100k, sampler denoising steps 9"
    assert called(replace(three, horizon=5)) == "diffworld atari100k, 2 changes"
    assert called(replace(BENCHMARK_CONFIG, init_from="/home/me/run")) == "diffworld atari100k, init from given"
    assert called(replace(BENCHMARK_CONFIG, recipe="model_free")) == "diffworld atari100k, recipe model_free"


def test_methods_whose_labels_agree_are_numbered(tmp_path: Path) -> None:
    longer = replace(BENCHMARK_CONFIG, sampler=SamplerConfig(denoising_steps=9))
    configs = [replace(longer, horizon=5), replace(longer, horizon=6)]
    runs = [read_run(make_run(tmp_path / str(i), config=config)) for i, config in enumerate(configs)]
    assert [run.method for run in named(runs, None)] == [
        "diffworld atari100k, 2 changes",
        "diffworld atari100k, 2 changes #2",
    ]


def test_the_game_is_the_one_that_the_folder_tells(tmp_path: Path) -> None:
    """A run on data names no game in its configuration."""
    path = make_run(tmp_path / "run", config=replace(BENCHMARK_CONFIG, recipe="world", data="somewhere"))
    presented = {**vars(EnvironmentConfig(sticky_actions=0.25))}
    spec = GameSpec("atari/Pong", 64, 64, ActionSpace.discrete(6), presented=presented)
    (path / "game.json").write_text(json.dumps(spec.to_json()))
    run = read_run(path)
    assert (run.env, run.game) == ("atari/Pong", "Pong")
    assert run.departures == (
        "sticky actions with probability 0.25 (benchmark: 0)",
        "data or weights from elsewhere",
    )


def test_runs_named_one_by_one(tmp_path: Path) -> None:
    """Whoever compares settings knows what to call them, also where nothing else tells them apart."""
    paths = [make_run(tmp_path / setting / str(seed), seed=seed) for setting in ("a", "b") for seed in (0, 1)]
    runs = named([read_run(path) for path in paths], {path: path.parent.name for path in paths[:3]})
    assert [run.method for run in runs] == ["a", "a", "b", "diffworld atari100k"]


def test_a_run_counted_twice_is_refused(tmp_path: Path) -> None:
    runs = [read_run(make_run(tmp_path / name)) for name in ("a", "b")]
    with pytest.raises(UserError, match="give only one"):
        named(runs, None)
    more = [read_run(make_run(tmp_path / "c", seed=1)), read_run(make_run(tmp_path / "d", game="Pong"))]
    assert {run.method for run in named([runs[0], *more], "Mine")} == {"Mine"}


def test_imported_weights_are_a_method_of_their_own(tmp_path: Path) -> None:
    path = with_checkpoints(make_run(tmp_path / "run"), 0)
    (path / "summary.json").unlink()
    (path / "version.json").write_text('{"imported_from": "somewhere"}')
    evaluate(path, 50.0, games=100, checkpoint=0)
    run = read_run(path)
    assert (run.method, run.imported, run.comparable) == ("imported weights", "somewhere", True)
    assert run.remarks == ["with imported weights, and real steps as their configuration says"]


def test_a_torn_last_line_of_the_record_is_passed_over_and_no_record_is_none(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run")
    record = path / "metrics.jsonl"
    record.write_text('{"epoch": 1, "test/return_mean": 3.0}\n{"epoch": 2}\n{"epoch": 3')
    assert list(read_run(path).metrics) == [{"epoch": 1, "eval/return_mean": 3.0}, {"epoch": 2}]
    record.write_text('{"epoch": 1}\n[]\n{"epoch": 2}\n')
    with pytest.raises(UserError, match="line 2, is no metrics entry"):
        read_run(path)
    record.unlink()
    assert read_run(path).metrics == []


def test_folders_that_cannot_be_used_are_refused_in_one_line(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    untested = with_checkpoints(make_run(tmp_path / "untested"), 1)
    untrained = make_run(tmp_path / "untrained")
    world = make_run(tmp_path / "world", agent=False)
    damaged, other, evaluated = (make_run(tmp_path / name) for name in ("damaged", "other", "evaluated"))
    blind = make_run(tmp_path / "blind", constant=1e200)
    for path in (untested, untrained):
        (path / "summary.json").unlink()
    (damaged / "summary.json").write_text(json.dumps({"agent": {}}))
    (other / "config.json").write_text("{}")
    evaluate(evaluated, 1.0, 2, env="atari/Pong")
    for path, said in (
        (tmp_path / "nowhere", "does not exist"),
        (empty, "is no run folder"),
        (tmp_path, "give the runs in it, such as"),
        (untested, "run: diffworld evaluate"),
        (untrained, "train it first"),
        (world, "has no test of its agent: it trained a world model alone"),
        (damaged, "cannot read .*summary.json"),
        (blind, "cannot read .*summary.json .scores should be"),
        (other, "another version wrote it"),
        (evaluated, "is of another game"),
    ):
        with pytest.raises(UserError, match=said) as error:
            read_run(path)
        assert "\n" not in str(error.value)
