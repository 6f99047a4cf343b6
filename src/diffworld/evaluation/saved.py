"""Evaluations on disk: `RUN/evaluations/NAME.json`, one file for each, with every game's result."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from diffworld.envs import EpisodeResult
from diffworld.evaluation.blind import BlindGames
from diffworld.evaluation.protocol import Protocol, departures
from diffworld.evaluation.statistics import Interval, mean_interval
from diffworld.runtime.checked import read_as
from diffworld.runtime.errors import UserError, one_line
from diffworld.runtime.files import read_json, write_json
from diffworld.runtime.versions import versions

FORMAT = 1
LARGEST = 1e100  # no score comes near it
PolicyName = Literal["agent", "random"]


@dataclass(frozen=True)
class Evaluation:
    """Whole test games of one policy, and everything that decides how they went."""

    env: str
    """The game's id, such as atari/Breakout."""
    policy: PolicyName
    """Who played."""
    checkpoint: int
    """Number of the checkpoint that played; 0 for the random policy."""
    finished: bool
    """Whether the run's training was over."""
    env_steps: int
    """Real steps the agent had learnt from."""
    wall_seconds: float
    """Seconds it had been trained for."""
    temperature: float
    """Temperature of the policy's actions."""
    test_seed: int
    """Which list of test games was played: each game's own seed follows from it."""
    num_envs: int
    """Games played side by side; with other numbers the network's sums are rounded otherwise."""
    protocol: Protocol
    """The rules."""
    episodes: tuple[EpisodeResult, ...]
    """One for each game."""
    blind: BlindGames | None = None
    """The same games played without looking, to compare an agent with; evaluations of before have none."""

    @property
    def scores(self) -> list[float]:
        """Raw scores, by game."""
        return [episode.score for episode in self.episodes]

    @property
    def departures(self) -> list[str]:
        """What sets it apart from the Atari 100k benchmark; empty if it may be compared."""
        return departures(self.env, self.protocol, self.policy)

    @property
    def name(self) -> str:
        """File name without its ending; evaluations that could differ have different names."""
        who = self.policy if self.policy == "random" else f"{self.policy}-{self.checkpoint:08d}"
        what = f"{len(self.episodes)}-games-seed-{self.test_seed}-x{self.num_envs}"
        return f"{who}-{what}" + ("" if self.policy == "random" else f"-temperature-{self.temperature:g}")

    def normalised(self, random: float, human: float) -> Interval:
        """Mean human-normalised score, (score - random) / (human - random), and its 95 % interval."""
        return mean_interval([(score - random) / (human - random) for score in self.scores])

    def in_words(self, reference: tuple[float, float] | None) -> list[str]:
        """What was found, in a few lines of text; `reference` as for `save_evaluation`."""
        scores = sorted(self.scores)
        games = len(scores)
        steps = sum(episode.steps for episode in self.episodes) / games
        cut = sum(episode.truncated for episode in self.episodes)
        who = "random policy"
        if self.policy == "agent":
            unfinished = "" if self.finished else ", training unfinished"
            who = f"agent after {self.env_steps:,} real steps (checkpoint {self.checkpoint}{unfinished})"
        lines = [
            f"{self.env}, {who}, {games} game{'s' if games > 1 else ''}",
            f"  mean score        {mean_interval(scores)}   (95 % interval over games)",
            f"  median            {scores[games // 2]:.4g}   lowest {scores[0]:.4g}, highest {scores[-1]:.4g}",
            f"  length            {steps:,.0f} steps a game" + (f"; {cut} cut by the limit of length" if cut else ""),
        ]
        if self.blind:
            blind, names = self.blind.scores, (f"always {self.blind.action}", "blind mixture")
            lines.append(f"  {names[0]:17} {blind.constant}   (the best constant action)")
            lines.append(f"  {names[1]:17} {blind.mixture}   (the agent's own actions, drawn without looking)")
        if self.departures:
            reasons = "; ".join(self.departures)
            lines.append(f"  human-normalised  not given, for this is not the Atari 100k protocol: {reasons}")
        elif reference:
            normalised = self.normalised(*reference)
            lines.append(f"  human-normalised  {normalised}   (random play 0, human play 1)")
        if self.blind and (note := self.blind.scores.note(mean_interval(scores))):
            lines.append(f"  note: {note}")
        return lines


def save_evaluation(run: Path, evaluation: Evaluation, reference: tuple[float, float] | None) -> Path:
    """Write an evaluation into its run folder, whole or not at all, and return where.

    reference: raw scores of random and human play, where they are known. The human-normalised score is left out,
    and the file says why, where the protocol is not the benchmark's.
    """
    path = run / "evaluations" / f"{evaluation.name}.json"
    mean = mean_interval(evaluation.scores)
    comparable = reference is not None and not evaluation.departures
    normalised = evaluation.normalised(*reference) if reference and comparable else None
    summary = {
        "mean": asdict(mean),
        "blind": {**asdict(blind := evaluation.blind.scores), "note": blind.note(mean)} if evaluation.blind else None,
        "interval": "95 % bootstrap interval of the mean over games",
        "human_normalised": asdict(normalised) if normalised else None,
        "reference": dict(zip(("random", "human"), reference, strict=True)) if reference else None,
        "comparable_with_atari_100k": comparable,
        "departures": evaluation.departures,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
    }
    write_json(path, {"format": FORMAT, "evaluation": asdict(evaluation), "summary": summary})
    return path


def read_evaluation(path: Path) -> Evaluation:
    """Read an evaluation; UserError, one line, if the file is damaged or of another version."""
    advice = "delete it and run diffworld evaluate again"
    data = read_json(path, advice)
    try:
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise UserError(f"it is no evaluation of format {FORMAT}")
        evaluation = read_as(Evaluation, {"blind": None, **data["evaluation"]}, "evaluation")
        blind = (evaluation.blind.constant, evaluation.blind.mixture) if evaluation.blind else ()
        for games in (evaluation.episodes, *blind):
            check_scores([game.score for game in games])
    except (ValueError, KeyError, TypeError, UserError) as error:
        raise UserError(f"cannot read {path} ({one_line(error)}): {advice}") from error
    return evaluation


def read_evaluations(run: Path) -> list[Evaluation]:
    """Every evaluation saved in a run folder, by name; UserError if one is damaged."""
    return [read_evaluation(path) for path in sorted((run / "evaluations").glob("[!.]*.json"))]


def check_scores(scores: Sequence[float]) -> None:
    """ValueError unless there is at least one score and all are numbers that sums and squares leave finite."""
    if not scores or not all(type(score) in (int, float) and abs(score) < LARGEST for score in scores):
        raise ValueError("scores should be one or more finite numbers")
