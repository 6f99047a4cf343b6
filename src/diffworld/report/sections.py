"""The page's sections on methods: aggregates, profiles, improvement, game by game, other rules, definitions."""

from diffworld.evaluation.protocol import ATARI_100K, rules
from diffworld.report.aggregates import RESAMPLES, Estimate
from diffworld.report.contents import Aggregates, Contents
from diffworld.report.html import Cell, bullets, image, paragraph, section, table
from diffworld.report.scores import Method

COLUMNS = {
    "iqm": "interquartile mean",
    "median": "median",
    "mean": "mean",
    "optimality_gap": "optimality gap",
    "above_human": "games at or above human",
}
_PUBLISHED = {"iqm": "iqm", "median": "median", "mean": "mean", "above_human": "superhuman"}


def aggregates_section(contents: Contents, png: bytes) -> str:
    """Figure and table of every aggregate over all games."""
    rows = [_aggregate_row(contents, contents.aggregates, name) for name in contents.ranked()]
    for name, published in contents.benchmark.aggregates.items():
        cells = [Cell(number_text(key, published.get(_PUBLISHED.get(key, "")))) for key in COLUMNS]
        rows.append(
            [Cell(name, "faint", small=str(published["source"])), Cell(str(published.get("runs", "?"))), *cells]
        )
    return section(
        "aggregates",
        "Aggregates over the 26 games",
        paragraph(
            "Human-normalised scores: random play is 0, human play is 1. Bars are 95 % intervals from resampling the "
            "runs of each game; methods with one number a game have none. Hollow marks, last rows: methods of which "
            "only the authors' aggregates are known."
        ),
        image(png, "Aggregates of every method with intervals"),
        table(_aggregate_head(), rows, "plain"),
    )


def subset_section(contents: Contents, name: str) -> str:
    """Aggregates on just the games that the user's method `name` has."""
    found = contents.subsets[name]
    method = next(method for method in contents.methods if method.name == name)
    games = [game for game in contents.benchmark.games if game in method.scores]
    ranked = sorted(found, key=lambda other: -found[other]["iqm"].value)
    missing = contents.benchmark.missing(method)
    return section(
        f"subset-{list(contents.subsets).index(name) + 1}",
        f"Only the {len(games)} games {name} has",
        paragraph(
            f"Every method on {', '.join(games)}. This says nothing about the {len(missing)} other games, and the "
            "numbers compare with no published aggregate."
        ),
        table(_aggregate_head(), [_aggregate_row(contents, found, other) for other in ranked], "plain"),
    )


def _aggregate_head() -> list[Cell]:
    return [Cell("method"), Cell("runs a game"), *(Cell(title) for title in COLUMNS.values())]


def _aggregate_row(contents: Contents, found: Aggregates, name: str) -> list[Cell]:
    method = next(method for method in contents.methods if method.name == name)
    few, many = method.runs()
    cells = [
        Cell(number_text(key, found[name][key].value), small=bounds_text(key, found[name][key])) for key in COLUMNS
    ]
    return [Cell(name, "own" if method.own else ""), Cell(str(few) if few == many else f"{few}–{many}"), *cells]


def profiles_section(png: bytes) -> str:
    """The performance profiles."""
    return section(
        "profiles",
        "Performance profiles",
        paragraph(
            "How large a share of all runs of all games scores above each level: higher is better everywhere. Where "
            "one curve lies above another all along, its method is better whatever aggregate is chosen."
        ),
        image(png, "Performance profiles with pointwise 95 % bands"),
    )


def improvement_section(contents: Contents, png: bytes) -> str:
    """The probabilities of improvement."""
    subjects = ", ".join(dict.fromkeys(x for x, _ in contents.improvement))
    return section(
        "improvement",
        "Probability of improvement",
        paragraph(
            f"How likely a run of {subjects} beats a run of the other method on a game drawn at random. It counts who "
            "wins, not by how much. An interval wholly above 0.5 speaks for the former."
        ),
        image(png, "Probability of improvement over each method"),
    )


def per_game_section(contents: Contents) -> str:
    """Raw scores of every method on every game."""
    benchmark, methods = contents.benchmark, contents.methods
    head = [Cell("game"), Cell("Random", "turned"), Cell("Human", "turned")]
    head += [Cell(m.name, "turned own" if m.own else "turned", title=m.source) for m in methods]
    rows = []
    for game in benchmark.games:
        means = [sum(m.scores[game]) / len(m.scores[game]) if m.scores.get(game) else None for m in methods]
        best = max(mean for mean in means if mean is not None)
        cells = [_score(mean, best, benchmark.human[game]) for mean in means]
        rows.append([Cell(game), Cell(raw_text(benchmark.random[game])), Cell(raw_text(benchmark.human[game])), *cells])
    feet = [_foot(contents, key, title) for key, title in COLUMNS.items()]
    counts = [Cell(str(m.runs()[0]) if len(set(m.runs())) == 1 else "var.", title="runs a game") for m in methods]
    feet.append([Cell("runs a game"), Cell(""), Cell(""), *counts])
    return section(
        "games",
        "Game by game",
        paragraph(
            "Raw scores, each the mean over the method's runs. Bold: the best of a row. Green: human play or more."
        ),
        table(head, [*rows, *feet], "wide", foot=len(feet)),
        classes="landscape",
    )


def _score(mean: float | None, best: float, human: float) -> Cell:
    if mean is None:
        return Cell("–", "faint")
    classes = ["best"] if mean == best else []
    return Cell(raw_text(mean), " ".join([*classes, *(["human"] if mean >= human - 1e-9 * abs(human) else [])]))


def _foot(contents: Contents, key: str, title: str) -> list[Cell]:
    cells = []
    for method in contents.methods:
        found = contents.aggregates.get(method.name)
        cells.append(Cell(number_text(key, found[key].value) if found else "–", title="" if found else "lacks games"))
    return [Cell(title), Cell(""), Cell(""), *cells]


def apart_section(contents: Contents) -> str:
    """Scores under other rules than the benchmark's; empty text if there are none."""
    runs = [run for run in contents.runs if not run.comparable]
    if not runs and not contents.apart:
        return ""
    head = ["method", "game", "seed or runs", "score", "random, same rules"]
    rows = [
        [
            Cell(run.method),
            Cell(run.game),
            Cell(str(run.seed)),
            Cell(raw_text(run.interval.mean), small=f"{raw_text(run.interval.low)} to {raw_text(run.interval.high)}"),
            Cell(str(raw_text(run.random.mean)) if run.random else "–", title="" if run.random else "not measured"),
            Cell("; ".join(run.departures), "words"),
        ]
        for run in runs
    ] + [_apart_row(method, game) for method in contents.apart for game in method.scores]
    return section(
        "apart",
        "Other protocols, not comparable with the published scores",
        paragraph(
            "Made under other rules than the benchmark's, so these are in no table above and are not normalised. "
            "Compare such a score with random play under the same rules only."
        ),
        table([*(Cell(text) for text in head), Cell("what differs", "words")], rows, "plain"),
    )


def _apart_row(method: Method, game: str) -> list[Cell]:
    scores = method.scores[game]
    runs = f"{len(scores)} run{'s' if len(scores) > 1 else ''}"
    mean = raw_text(sum(scores) / len(scores))
    return [
        Cell(method.name),
        Cell(game),
        Cell(runs),
        Cell(mean),
        Cell("–"),
        Cell("; ".join(method.departures), "words"),
    ]


def method_section(contents: Contents) -> str:
    """Definitions, rules and sources."""
    definitions = [
        "Human-normalised score: (score - random) / (human - random), game by game.",
        "Mean and median: over games, of the mean over runs. Interquartile mean: of all runs of all games pooled, "
        "without the lowest and the highest quarter (each rounded down to whole runs).",
        "Optimality gap: how far scores fall short of human play on average, scores above it counted as 1.",
        "Games at or above human: those in which the mean over runs is at least the human score.",
        "Probability of improvement: mean over games of P(X > Y) + P(X = Y) / 2 over all pairs of runs.",
        f"Intervals: 95 %, percentile bootstrap of {RESAMPLES:,} resamples with a fixed seed, in which the runs of "
        "each game are drawn with replacement and games stay as they are. They are given only where every game has "
        "several runs.",
        "These are the definitions of Agarwal et al. 2021 (arXiv 2108.13264).",
        "Published numbers are worked out anew from raw scores, so some differ a little from the tables in papers.",
    ]
    sources = [f"{name}: {source}" for name, source in contents.benchmark.sources.items()]
    own = [f"{method.name}: {method.source}" for method in [*contents.own, *contents.apart]]
    given = [f"{name}: {entry['source']} (aggregates only)" for name, entry in contents.benchmark.aggregates.items()]
    return section(
        "method",
        "How the numbers are made",
        bullets(definitions),
        "<h3>Rules of the benchmark</h3>",
        paragraph(f"{'; '.join(rules(ATARI_100K))}. Frame size, networks and temperature are a method's own choice."),
        "<h3>Sources of the scores</h3>",
        bullets([*own, *sources, *given], "columns"),
    )


def raw_text(score: float) -> str:
    """A raw score at the precision it deserves in a table."""
    return f"{score:,.0f}" if abs(score) >= 100 else f"{score:.1f}".replace("-0.0", "0.0")


def number_text(key: str, value: float | None) -> str:
    """An aggregate, or a dash."""
    if value is None:
        return "–"
    return f"{value:.0f}" if key == "above_human" else f"{value:.3f}"


def bounds_text(key: str, estimate: Estimate) -> str:
    """The bounds of an aggregate's interval; empty text without one."""
    if estimate.low is None or estimate.high is None:
        return ""
    digits = 0 if key == "above_human" else 2
    return f"{estimate.low:.{digits}f} to {estimate.high:.{digits}f}"
