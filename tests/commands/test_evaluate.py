"""`diffworld evaluate` on a run folder with real networks, a real replay and a real game."""

import json
import shutil
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from diffworld.commands import evaluate
from diffworld.config import CollectionConfig, Config, EvaluationConfig
from diffworld.data import Dataset
from diffworld.envs import EnvironmentConfig, make_env
from diffworld.envs.seeds import test_seed as seed_of_test_game
from diffworld.evaluation.games import TestGames
from diffworld.evaluation.saved import Evaluation, read_evaluation
from diffworld.evaluation.statistics import mean_interval
from diffworld.game import ActionSpace, GameSpec
from diffworld.models.actor_critic import ActorCriticConfig
from diffworld.models.denoiser import DenoiserConfig
from diffworld.models.reward_end import RewardEndConfig
from diffworld.recipes import build_networks
from diffworld.runs import Checkpoint, RunFolder, load
from diffworld.runtime.errors import UserError
from tests.older import make_older

STEPS = 30
NAMES, ATARI_NAMES = ("NOOP", "LEFT", "RIGHT"), ("NOOP", "FIRE", "RIGHT", "LEFT")
CONFIG = Config(
    env="minatar/breakout",
    seed=3,
    environment=EnvironmentConfig(height=16, width=16, max_steps=40),
    collection=CollectionConfig(total_steps=60),
    denoiser=DenoiserConfig(cond_channels=16, channels=(8,), depths=(1,), attention=(False,)),
    reward_end=RewardEndConfig(lstm_channels=8, cond_channels=8, channels=(8,), depths=(1,), attention=(False,)),
    actor_critic=ActorCriticConfig(lstm_channels=8, channels=(8,), pool=(True,)),
    evaluation=EvaluationConfig(num_envs=3, temperature=0.7),
)


ATARI = replace(CONFIG, env="atari/Breakout")


def spec_of(config: Config) -> GameSpec:
    e = config.environment
    names = ATARI_NAMES if config.env == ATARI.env else NAMES
    return GameSpec(config.env, e.height, e.width, ActionSpace.discrete(names), presented=asdict(e))


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return make_run(tmp_path / "run")


def make_run(path: Path, config: Config = CONFIG) -> RunFolder:
    """A run stopped after some real steps."""
    folder = RunFolder(path)
    with closing(make_env(config.env, config.environment)) as env:
        folder.begin(config, env.spec)
        networks = build_networks(config, env.spec, torch.device("cpu"))
        with Dataset.create(folder.replay, env.spec) as dataset:
            frame, episode = env.reset([1])[0], dataset.new_episode()
            for i in range(STEPS):
                last = i == STEPS - 1
                dataset.append(episode, frame, 0, 0.0, False, last, frame if last else None)
            rows = dataset.num_rows
    assert networks.actor_critic is not None
    torch.nn.init.normal_(networks.actor_critic.policy_head.weight)
    progress = {"progress": {"saves": 2, "wall_seconds": 5.5}, "replay_rows": rows, "env_steps": STEPS}
    folder.save(2, Checkpoint(networks.tensors(), {}, progress))
    return folder


def saved(run: RunFolder) -> Evaluation:
    (path,) = (run.path / "evaluations").iterdir()
    return read_evaluation(path)


def test_every_game_is_saved_with_what_decided_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "run", ATARI)
    assert evaluate.main([str(run.path), "--episodes", "2"]) == 0
    found = saved(run)
    assert [episode.seed for episode in found.episodes] == [seed_of_test_game(3, game) for game in range(2)]
    assert (found.checkpoint, found.env_steps, found.wall_seconds, found.finished) == (2, STEPS, 5.5, False)
    assert (found.temperature, found.test_seed, found.num_envs) == (0.7, 3, 2)
    printed = capsys.readouterr().out
    assert f"agent after {STEPS} real steps (checkpoint 2, training unfinished), 2 games" in printed
    assert "not given, for this is not the Atari 100k protocol: games cut after 40 steps" in printed
    assert f"{STEPS} real steps (benchmark: 100,000)" in printed


def test_those_who_do_not_look_play_the_same_games(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main([str(run.path), "--episodes", "4"]) == 0
    found, printed = saved(run), capsys.readouterr().out
    blind = found.blind
    assert blind is not None and blind.action in NAMES
    seeds = [episode.seed for episode in found.episodes]
    for games in (blind.constant, blind.mixture):
        assert [game.seed for game in games] == seeds and all(game.steps <= 40 for game in games)
    assert f"always {blind.action}" in printed and "(the best constant action)" in printed
    assert f"  blind mixture     {blind.scores.mixture}" in printed
    (path,) = (run.path / "evaluations").iterdir()
    summary = json.loads(path.read_text())["summary"]
    assert summary["blind"]["constant"]["mean"] == sum(game.score for game in blind.constant) / 4
    assert summary["blind"]["note"] == blind.scores.note(mean_interval(found.scores))
    assert summary["blind"]["note"] and f"note: {summary['blind']['note']}" in printed, "this agent learnt nothing"


def test_scores_are_those_of_the_last_test_of_training(run: RunFolder) -> None:
    model = load(run.path, "cpu")
    expected = TestGames(model.spec, CONFIG.seed, CONFIG.evaluation.num_envs, 0.7).play(model.policy, 4)
    evaluate.main([str(run.path), "--episodes", "4"])
    assert list(saved(run).episodes) == expected


def test_checkpoints_of_the_version_before_are_counted_in_their_replay_or_record(run: RunFolder) -> None:
    make_older(run.checkpoints()[-1])
    evaluate.main([str(run.path), "--episodes", "1"])
    assert saved(run).env_steps == STEPS
    shutil.rmtree(run.replay)
    (run.path / "metrics.jsonl").write_text('{"epoch": 1, "env_steps": 7}\n')
    evaluate.main([str(run.path), "--episodes", "1"])
    assert saved(run).env_steps == 7


def test_the_packaged_model_is_evaluated_and_nothing_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert evaluate.main(["--demo", "--policy", "random", "--episodes", "1"]) == 0
    said = capsys.readouterr().out
    assert "atari/Boxing, random policy, 1 game" in said and "not saved, for demo is no run folder" in said
    assert list(tmp_path.iterdir()) == []


def test_a_world_model_alone_has_no_agent_to_evaluate(run: RunFolder, tmp_path: Path) -> None:
    world = RunFolder(tmp_path / "world")
    config = replace(CONFIG, recipe="world", data=str(run.replay))
    world.begin(config, spec_of(config))
    networks = build_networks(config, spec_of(config), torch.device("cpu"))
    world.save(1, Checkpoint(networks.tensors(), {}, {"progress": {}, "env_steps": STEPS}))
    with pytest.raises(UserError, match="world has no agent"):
        evaluate.main([str(world.path)])


def test_options_change_what_they_say(run: RunFolder) -> None:
    options = ["--episodes", "2", "--temperature", "0.1", "--seed", "8", "--num-envs", "1", "--device", "cpu"]
    assert evaluate.main([str(run.path), *options]) == 0
    found = saved(run)
    assert (found.temperature, found.test_seed, found.num_envs) == (0.1, 8, 1)
    assert found.episodes[0].seed == seed_of_test_game(8, 0)


def test_the_random_policy_needs_no_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunFolder(tmp_path / "run")
    config = replace(ATARI, environment=EnvironmentConfig(height=16, width=16))
    run.begin(config, spec_of(config))
    assert evaluate.main([str(run.path), "--policy", "random", "--episodes", "2"]) == 0
    assert saved(run).policy == "random" and saved(run).blind is None
    # Whole games under the game's own rules: comparable, however little was trained.
    assert "human-normalised" in capsys.readouterr().out
    (path,) = (run.path / "evaluations").iterdir()
    assert json.loads(path.read_text())["summary"]["comparable_with_atari_100k"] is True


@pytest.mark.thorough
def test_a_report_takes_it_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from diffworld.commands import report

    run = make_run(tmp_path / "run", ATARI)
    evaluate.main([str(run.path), "--episodes", "1"])
    assert report.main([str(run.path), "--out", str(tmp_path / "report")]) == 0
    numbers = json.loads((tmp_path / "report" / "report.json").read_text())
    (row,) = numbers["tables"]["runs"]
    assert row["score"] == pytest.approx(saved(run).scores[0])
    assert not row["comparable"]
    assert "1 of your results was made under other rules" in capsys.readouterr().out


def test_imported_weights_have_the_steps_of_their_configuration(run: RunFolder) -> None:
    version = run.path / "version.json"
    version.write_text(json.dumps({**json.loads(version.read_text()), "imported_from": "somewhere"}))
    make_older(run.checkpoints()[-1])
    evaluate.main([str(run.path), "--episodes", "1"])
    assert saved(run).env_steps == CONFIG.collection.total_steps
    assert saved(run).finished


def test_ctrl_c_leaves_nothing(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(TestGames, "play", interrupted)
    assert evaluate.main([str(run.path)]) == 130
    assert "nothing was saved" in capsys.readouterr().err
    assert not (run.path / "evaluations").exists()


def test_what_cannot_be_evaluated_is_refused_in_one_line(run: RunFolder, tmp_path: Path) -> None:
    begun = RunFolder(tmp_path / "begun")
    begun.begin(CONFIG, spec_of(CONFIG))
    for arguments, said in (
        ([str(tmp_path)], "is no run folder"),
        ([str(begun.path)], "has no checkpoint yet: train it first"),
        ([str(run.path), "--episodes", "0"], "--episodes is 0"),
        ([str(run.path), "--temperature", "-1"], "--temperature is -1"),
        ([str(run.path), "--temperature", "nan"], "--temperature is nan"),
        ([str(run.path), "--seed", "-1"], "--seed is -1"),
        ([str(run.path), "--num-envs", "0"], "--num-envs is 0"),
        ([str(run.path), "--device", "abacus"], "unknown device"),
        ([str(run.path), "--policy", "human"], "invalid choice"),
        ([], "required"),
    ):
        with pytest.raises(UserError, match=said) as error:
            evaluate.main(arguments)
        assert "\n" not in str(error.value)
    weights = run.checkpoints()[-1] / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(UserError, match="is damaged"):
        evaluate.main([str(run.path)])
    assert not (run.path / "evaluations").exists()


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        evaluate.main(["--help"])
    assert stop.value.code == 0
    assert "diffworld report" in capsys.readouterr().out
