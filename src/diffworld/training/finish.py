"""What a finished run leaves for its user: scores beside the random policy's, curves, a film, a summary."""

from typing import Any

from diffworld.config import Config
from diffworld.evaluation.dream import dream_beside_real
from diffworld.evaluation.episodes import EpisodeResult, Recorder, SeenStep
from diffworld.evaluation.games import play_games, scores
from diffworld.evaluation.held_out import HeldOut
from diffworld.evaluation.plots import learning_curves
from diffworld.evaluation.statistics import Interval, apart, mean_interval
from diffworld.evaluation.video import side_by_side, write_video
from diffworld.files import write_json
from diffworld.run_folder import RunFolder, versions
from diffworld.training.display import Display
from diffworld.training.interrupt import Interrupted, StopRequest
from diffworld.training.metrics import METRICS_FILE, read_metrics
from diffworld.training.trainer import Trainer

FILM_STARTS_AT = 30  # steps into the game, past its opening
FILM_FRAMES = 200
DREAM_FILM, GAME_FILM = "dream.mp4", "game.mp4"


def finish(
    config: Config,
    run: RunFolder,
    trainer: Trainer,
    counters: dict[str, int | float],
    display: Display,
    stop: StopRequest,
) -> None:
    """Test, draw and sum up a trained run; what is interrupted here begins anew with the same command."""
    e, networks = config.evaluation, trainer.networks
    recorder, held_out = Recorder(), HeldOut(run.held_out, config, trainer.num_actions)

    def look(_: SeenStep) -> None:
        if stop.asked:
            raise Interrupted

    def on_step(step: SeenStep) -> None:
        look(step)
        recorder(step)
        held_out.record(step)

    with held_out:
        with display.bar("test: agent", "game", e.final_episodes) as advance:
            agent = play_games(
                config,
                networks.actor_critic,
                e.final_episodes,
                on_episode=lambda _: advance(1),
                on_step=on_step,
            )
        with display.bar("test: random", "game", e.random_episodes) as advance:
            random = play_games(config, None, e.random_episodes, on_episode=lambda _: advance(1), on_step=look)
        losses = {} if config.model_free else held_out.losses(networks, trainer.device)
    intervals = {"random": mean_interval(scores(random)), "agent": mean_interval(scores(agent))}
    _write_film(config, run, trainer, recorder)
    learning_curves(read_metrics(run.path / METRICS_FILE), run.path / "curves.png", intervals)
    write_json(run.summary_path, _summary(config, counters, agent, random, intervals, losses))
    for line in _report(config, run, intervals, counters):
        display.line(line)


def _write_film(config: Config, run: RunFolder, trainer: Trainer, recorder: Recorder) -> None:
    real = recorder.video()
    if config.model_free:
        write_video(run.path / GAME_FILM, real)
        return
    films = dream_beside_real(
        config, trainer.networks, real, recorder.actions, min(FILM_STARTS_AT, len(real) // 2), FILM_FRAMES
    )
    film = side_by_side(
        [films.real, films.same_actions, films.own_actions],
        ["real game", "dream, same actions", "dream, agent acts"],
    )
    write_video(run.path / DREAM_FILM, film, scale=1)


def _summary(
    config: Config,
    counters: dict[str, int | float],
    agent: list[EpisodeResult],
    random: list[EpisodeResult],
    intervals: dict[str, Interval],
    losses: dict[str, float],
) -> dict[str, Any]:
    def entry(name: str, results: list[EpisodeResult]) -> dict[str, Any]:
        interval = intervals[name]
        return {
            "mean": interval.mean,
            "low": interval.low,
            "high": interval.high,
            "scores": scores(results),
            "steps": [result.steps for result in results],
        }

    return {
        "env": config.env,
        "seed": config.seed,
        "agent": entry("agent", agent),
        "random": entry("random", random),
        "interval": "95 % bootstrap interval of the mean score over games",
        "clearly_better_than_random": apart(intervals["agent"], intervals["random"])
        and intervals["agent"].mean > intervals["random"].mean,
        "counters": counters,
        "held_out": losses,
        "versions": versions(),
    }


def _report(
    config: Config, run: RunFolder, intervals: dict[str, Interval], counters: dict[str, int | float]
) -> list[str]:
    e, minutes = config.evaluation, counters["wall_seconds"] / 60
    better = intervals["agent"].low > intervals["random"].high
    return [
        "",
        f"{config.env} after {counters['env_steps']:,} real steps and {minutes:.1f} minutes of training",
        f"  random policy  {intervals['random']}   over {e.random_episodes} games",
        f"  agent          {intervals['agent']}   over {e.final_episodes} games",
        "  mean score and 95 % interval; "
        + ("the agent is clearly better" if better else "the agent is not clearly better"),
        f"  see {run.path}/{GAME_FILM if config.model_free else DREAM_FILM}, curves.png, summary.json",
    ]
