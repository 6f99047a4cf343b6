"""Tests of a run: during training, and at its end with scores, curves, a film and a summary."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from diffworld.config import EvaluationConfig
from diffworld.data import Dataset, GameStep
from diffworld.envs import ActionCounter, EpisodeResult, FilmRecorder
from diffworld.envs.driver import OnStep
from diffworld.evaluation.blind import play_blind
from diffworld.evaluation.fidelity.brief import HORIZON, STARTS, brief_fidelity, brief_line
from diffworld.evaluation.films import dream_beside_real
from diffworld.evaluation.games import Pause, Player, TestGames, scores
from diffworld.evaluation.held_out import HeldOutWindows, TestRecorder, record
from diffworld.evaluation.obedience import comparisons, draw_obedience, obedience
from diffworld.evaluation.plots import learning_curves
from diffworld.evaluation.statistics import Interval, clearly_above, mean_interval
from diffworld.recipes import Recipe
from diffworld.runs.folder import RunFolder
from diffworld.runtime.errors import one_line
from diffworld.runtime.files import write_json
from diffworld.runtime.frames import Film
from diffworld.runtime.memory import lowering
from diffworld.runtime.metrics import METRICS_FILE, read_metrics
from diffworld.runtime.progress import Display
from diffworld.runtime.versions import versions
from diffworld.runtime.video import side_by_side, write_video
from diffworld.training.interrupt import Interrupted, Pauses

FILM_STARTS_AT = 30  # steps into the game, past its opening
FILM_FRAMES = 200
DREAM_FILM, GAME_FILM, OBEDIENCE = "dream.mp4", "game.mp4", "obedience.png"


@dataclass
class Tester:
    """Tests a recipe's agent in `games`, where there is a game, and its world model on what was held out.

    Ranks share out the games; all else is done by rank 0, which alone writes.
    """

    run: RunFolder
    recipe: Recipe
    settings: EvaluationConfig
    games: TestGames | None
    dataset: Dataset | None
    """Fixed data, some of whose episodes are held out; None where test games are recorded for that."""
    reward_end_window: int
    display: Display
    seconds: float | None = None
    """How long the last test took, each of its games where there are any."""

    def test(self, epoch: int, pauses: Pauses) -> dict[str, float]:
        """What an epoch's test measured; nothing in an epoch without a test."""
        e = self.settings
        if not e.every_epochs or epoch % e.every_epochs:
            return {}
        started = time.monotonic()
        if self.games is None:
            losses = pauses.work_alone(lambda: self._losses(self.dataset))
            self.seconds = time.monotonic() - started
            return losses
        if not e.episodes:
            return {}
        results, losses, _ = self._test(f"epoch {epoch} test", e.episodes, pauses, policy_seed=epoch)
        self.seconds = (time.monotonic() - started) / e.episodes
        return {"eval/return_mean": float(np.mean(scores(results))), **losses}

    def seconds_left(self, epoch: int, epochs: int) -> float | None:
        """How long the tests of so many epochs after that one, and the last one, will take; None before the first."""
        e = self.settings
        tests = (epoch + epochs) // e.every_epochs - epoch // e.every_epochs if e.every_epochs else 0
        count = tests + 1 if self.games is None else tests * e.episodes + 2 * e.final_episodes
        return None if self.seconds is None else count * self.seconds

    def finish(self, counters: dict[str, int | float], pauses: Pauses) -> None:
        """Test, draw and sum up a trained run; what is interrupted here begins anew with the same command."""
        if self.games is None:
            return pauses.work_alone(lambda: self._finish_on_data(counters, pauses.pause_point))
        tested, intervals, filmed = self._final_test(self.games, pauses)
        return pauses.work_alone(lambda: self._conclude(counters, tested, intervals, filmed()))

    def _finish_on_data(self, counters: dict[str, int | float], pause: Pause) -> None:
        held_out, film = self._losses(self.dataset), self._held_out_game()
        studies, said = self._study(pause)
        self._conclude(counters, {"held_out": held_out, **studies}, {}, film, said)

    def _conclude(
        self,
        counters: dict[str, int | float],
        found: dict[str, Any],
        intervals: dict[str, Interval],
        film: tuple[Film, np.ndarray] | None,
        said: Sequence[str] = (),
    ) -> None:
        """Film and draw what was found, write it down and say it."""
        path, summary = self.run.path, {"counters": counters, "versions": versions(), **found}
        name = self._write_film(*film) if film else ""
        learning_curves(read_metrics(path / METRICS_FILE), path / "curves.png", intervals)
        write_json(self.run.summary_path, summary)
        for line in [*self._report(summary, intervals, name), *said]:
            self.display.line(line)

    def _final_test(
        self, tests: TestGames, pauses: Pauses
    ) -> tuple[dict[str, Any], dict[str, Interval], Callable[[], tuple[Film, np.ndarray]]]:
        """What a summary says of test games, mean scores by who played, the agent last, and the game to be filmed."""
        games, pressed = self.settings.final_episodes, ActionCounter()
        agent, losses, filmed = self._test("test: agent", games, pauses, watching=[pressed])
        random = self._play("test: random", None, games, pauses)
        blind = play_blind(tests, pressed, games, self.display, pauses.pause_point)
        played = {"random": random, "constant": blind.constant, "blind": blind.mixture, "agent": agent}
        means = {who: mean_interval(scores(results)) for who, results in played.items()}
        summary: dict[str, Any] = {"env": tests.spec.name, "seed": tests.seed}
        for who, results in played.items():
            steps = [result.steps for result in results]
            summary[who] = {**asdict(means[who]), "scores": scores(results), "steps": steps}
        summary["constant"]["action"] = blind.action
        summary |= {
            "interval": "95 % bootstrap interval of the mean score over games",
            "clearly_better_than_random": clearly_above(means["agent"], means["random"]),
            "note": blind.scores.note(means["agent"]),
            "held_out": losses,
        }
        names = {"constant": f"always {blind.action}", "blind": "blind mixture"}
        return summary, {names.get(who, who): mean for who, mean in means.items()}, filmed

    def _test(
        self, what: str, games: int, pauses: Pauses, policy_seed: int = 0, watching: Sequence[OnStep] = ()
    ) -> tuple[list[EpisodeResult], dict[str, float], Callable[[], tuple[Film, np.ndarray]]]:
        """Play test games with the agent: results, losses on them, and in rank 0 the first one to be filmed."""
        assert self.games is not None
        film, recorder = FilmRecorder(), TestRecorder()
        agent = self.recipe.networks.actor_critic
        results = self._play(what, agent, games, pauses, [film, recorder, *watching], policy_seed)
        steps = recorder.gathered(self.games.ranks)
        losses = pauses.work_alone(lambda: self._losses_of_games(steps))
        return results, losses, lambda: (film.video(), np.array(film.actions))

    def _play(
        self,
        what: str,
        player: Player,
        games: int,
        pauses: Pauses,
        watching: Sequence[OnStep] = (),
        policy_seed: int = 0,
    ) -> list[EpisodeResult]:
        assert self.games is not None

        def see(step: GameStep) -> None:
            for watch in watching:
                watch(step)

        own = len(self.games.ranks.share(games))
        with lowering("--evaluation.num-envs"), self.display.bar(what, "game", own) as advance:
            return self.games.play(
                player,
                games,
                on_episode=lambda _: advance(1),
                on_step=see,
                policy_seed=policy_seed,
                pause=pauses.pause_point,
            )

    def _losses_of_games(self, steps: Sequence[GameStep]) -> dict[str, float]:
        """Losses on test games, which are written down."""
        assert self.games is not None
        with record(self.run.held_out, self.games.spec, steps) as dataset:
            return self._losses(dataset)

    def _losses(self, dataset: Dataset | None) -> dict[str, float]:
        """Losses of the world model on held-out windows, where there are both."""
        if self.recipe.world is None or dataset is None:
            return {}
        return HeldOutWindows(dataset, self.reward_end_window, self.recipe.held_out).losses(self.recipe.world)

    def _study(self, pause: Pause) -> tuple[dict[str, Any], list[str]]:
        """How faithful the dream is, and whether it obeys: for the summary, and in words.

        What fails here costs a line, no more: the run is trained.
        """
        world, dataset, device = self.recipe.world, self.dataset, self.recipe.given.device
        assert world is not None and dataset is not None
        held_out = self.recipe.held_out
        among = held_out if held_out is not None and held_out.any() else None
        found: dict[str, Any] = {"measured_on": "all episodes" if among is None else "held-out episodes"}
        said: list[str] = []

        def fidelity(advance: Callable[[int], None]) -> None:
            found["fidelity"] = brief_fidelity(world, dataset, among, device, advance)
            said.append(brief_line(found["fidelity"]))

        def obeys(advance: Callable[[int], None]) -> None:
            judged = obedience(world, dataset, among, device, advance)
            found["obedience"] = judged.to_json()
            said.extend(judged.lines())
            draw_obedience(judged, self.run.path / OBEDIENCE, f"Does {self.run.path.resolve().name} obey?")

        frames, pairs = STARTS * HORIZON, comparisons(dataset.spec.actions)
        for name, unit, count, work in (("fidelity", "frame", frames, fidelity), ("obedience", "pair", pairs, obeys)):
            try:
                with self.display.bar(name, unit, count) as advance:
                    work(_interruptible(advance, pause))
            except Interrupted:
                raise
            except Exception as error:
                self.display.line(f"warning: no {name} was measured: {one_line(error)}")
        return found, said

    def _held_out_game(self) -> tuple[Film, np.ndarray] | None:
        """The longest episode that was held out, or else of all, to be filmed."""
        assert self.dataset is not None
        episodes, held_out = self.dataset.episodes, self.recipe.held_out
        lengths = episodes.lengths if held_out is None or not held_out.any() else episodes.lengths * held_out
        longest = episodes[int(np.argmax(lengths))]
        limit = FILM_STARTS_AT + FILM_FRAMES + self.recipe.world.context_frames if self.recipe.world else 1
        rows = episodes.rows(episodes.position(longest.id))[:limit]
        return self.dataset.gather_frames(rows), longest.actions[:limit]

    def _write_film(self, real: Film, actions: np.ndarray) -> str:
        """A film of the dream, or of the game where there is none; a film that cannot be made costs a line, no more."""
        world, agent = self.recipe.world, self.recipe.networks.actor_critic
        name = GAME_FILM if world is None else DREAM_FILM
        source = self.games or self.dataset
        assert source is not None
        fps = min(60.0, max(1.0, source.spec.steps_per_second))
        try:
            if world is None:
                write_video(self.run.path / name, real, fps)
                return name
            start = min(FILM_STARTS_AT, len(real) // 2)
            films = dream_beside_real(world, agent, real, actions, start, FILM_FRAMES, self.settings.temperature)
            shown = {"real game": films.real, "dream, same actions": films.same_actions}
            if films.own_actions is not None:
                shown["dream, agent acts"] = films.own_actions
            write_video(self.run.path / name, side_by_side(list(shown.values()), list(shown)), fps, scale=1)
        except Exception as error:  # whatever an encoder may say, the run is trained
            self.display.line(f"note: there is no {name}: {one_line(error)}")
            return ""
        return name

    def _report(self, summary: dict[str, Any], intervals: dict[str, Interval], film: str) -> list[str]:
        counters, losses = summary["counters"], summary["held_out"]
        minutes, games = counters["wall_seconds"] / 60, self.settings.final_episodes
        name = self.games.spec.name if self.games else "world model"
        lines = ["", f"{name} after {counters['env_steps']:,} real steps and {minutes:.1f} minutes of training"]
        if intervals:
            verdict = (
                f"the agent is {'' if summary['clearly_better_than_random'] else 'not '}clearly better than random"
            )
            width = max(map(len, intervals)) + 2
            lines += [f"  {who:{width}}{interval}   over {games} games" for who, interval in intervals.items()]
            lines.append(f"  mean score and 95 % interval; {verdict}")
        else:
            lines += [f"  {key:32} {value:.4f}" for key, value in losses.items()] or ["  no episode was held out"]
        shown = ", ".join([*([film] if film else []), "curves.png", "summary.json"])
        note = [f"note: {summary['note']}"] if summary.get("note") else []
        return [*lines, f"  see {self.run.path}/{shown}", *note]


def _interruptible(advance: Callable[[int], None], pause: Pause) -> Callable[[int], None]:
    """An advance at which the user may stop."""

    def step(count: int) -> None:
        pause(True)
        advance(count)

    return step
