"""The folder a report leaves: a page that needs nothing else, files that agree with each other."""

import csv
import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from run_folders import BENCHMARK_CONFIG, make_run

from diffworld.models.sampler import SamplerConfig
from diffworld.report import films
from diffworld.report.contents import Contents, gather
from diffworld.report.page import page
from diffworld.report.write import write_report
from diffworld.runtime.errors import UserError

EVIL = '_<script>alert("$x^$")</script>'


class Reader(HTMLParser):
    """What a page holds: tags, addresses, texts; and whether every tag is closed."""

    VOID = ("meta", "link", "img")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "poster")]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Contents:
    folder = tmp_path_factory.mktemp("inputs")
    file = folder / "evil.json"
    file.write_text(json.dumps({"method": EVIL, "scores": {"Pong": [1.0, 3.0], "Alien": [500.0, 600.0]}}))
    runs = [make_run(folder / "a", film=True), make_run(folder / "b", seed=1), make_run(folder / "c", "atari/Tennis")]
    return gather([*runs, file], resamples=100)


@pytest.fixture(scope="module")
def report(inputs: Contents, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    out = tmp_path_factory.mktemp("out") / "report"
    assert sorted(path.name for path in _written(inputs, out)) == sorted(path.name for path in out.iterdir())
    yield out


def _written(contents: Contents, out: Path) -> list[Path]:
    return [out / name for name in write_report(contents, out)]


@pytest.mark.thorough
def test_what_a_method_changes_is_said_where_its_name_does_not(tmp_path: Path) -> None:
    config = replace(BENCHMARK_CONFIG, sampler=SamplerConfig(denoising_steps=9))
    run = make_run(tmp_path / "run", config=config)
    for name, said in (("nine", 1), (None, 0)):
        write_report(gather([run], name, resamples=20), tmp_path / "report")
        page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
        assert page.count("sampler denoising steps 9, else the preset atari100k") == said


def test_page_is_whole_and_needs_nothing_from_elsewhere(report: Path) -> None:
    page = Reader((report / "report.html").read_text(encoding="utf-8"))
    assert page.open == []
    assert "script" not in page.tags
    for address in page.addresses:
        assert address.startswith("data:") or address.removeprefix("#") in page.ids
    assert "$" not in "".join(page.words).replace(EVIL, "")
    assert len(page.ids) == len(set(page.ids))
    assert "video" in page.tags


def test_text_from_files_stays_text(report: Path) -> None:
    text = (report / "report.html").read_text(encoding="utf-8")
    assert "<script" not in text
    assert EVIL in "".join(Reader(text).words)


def test_page_shows_every_method_and_the_numbers(report: Path) -> None:
    words = [word.strip() for word in Reader((report / "report.html").read_text(encoding="utf-8")).words]
    for name in ("DIAMOND", "IRIS", "EASimulus", "EDELINE", "0.641", "0.373", "1.459", "diffworld atari100k"):
        assert name in words
    assert any("Tennis is none of the benchmark's 26 games" in word for word in words)


@pytest.mark.parametrize("game", ["Breakout", "atari/Tennis"])
@pytest.mark.parametrize("constant", [None, 25.0])
@pytest.mark.cases(every=4)
def test_every_run_stands_beside_those_who_do_not_look(tmp_path: Path, game: str, constant: float | None) -> None:
    run = make_run(tmp_path / "run", game, constant=constant)
    write_report(gather([run], resamples=20), tmp_path / "report")
    text = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    tables = 2 if game == "atari/Tennis" else 1  # its rules are none of the benchmark's: it stands in a table more
    assert text.count(">best constant action</th>") == text.count(">blind mixture</th>") == tables
    assert text.count("<td>25.0 <small>UP</small></td>") == text.count("<td>20.0</td>") == (tables if constant else 0)
    assert text.count('<td title="not measured">–</td>') == (0 if constant else 2 * tables)
    assert ("No better than a player who never looks at the screen: run" in text) == (constant is not None)
    assert ("<span>Constant</span>" in text) == (constant is not None and game == "Breakout")
    (row,) = json.loads((tmp_path / "report" / "report.json").read_text())["tables"]["runs"]
    action = "UP" if constant else None
    assert (row["constant"], row["constant_action"], row["blind"]) == (constant, action, constant and constant - 5)


def test_pictures_can_be_seen(report: Path) -> None:
    pictures = sorted(report.glob("*.png"))
    assert {path.name for path in pictures} >= {"aggregates.png", "profiles.png", "improvement.png"}
    assert "curves-Breakout.png" in {path.name for path in pictures}
    for path in pictures:
        with Image.open(path) as picture:
            assert picture.width >= 1500
            assert len(picture.convert("RGB").getcolors(2**24) or []) > 20


def test_tables_and_numbers_agree(report: Path) -> None:
    numbers = json.loads((report / "report.json").read_text(encoding="utf-8"))
    assert sorted(numbers["files"]) == sorted(path.name for path in report.iterdir())
    for name, rows in numbers["tables"].items():
        read = list(csv.DictReader(io.StringIO((report / f"{name}.csv").read_text(encoding="utf-8"))))
        assert len(read) == len(rows) > 0
        assert list(read[0]) == list(rows[0])
    diamond = [row for row in numbers["tables"]["aggregates"] if row["method"] == "DIAMOND" and "all" in row["games"]]
    assert {row["statistic"]: round(row["value"], 3) for row in diamond} == {
        "mean": 1.459,
        "median": 0.373,
        "iqm": 0.641,
        "optimality_gap": 0.48,
        "above_human": 11,
    }
    assert {row["run"].rpartition("/")[2] for row in numbers["tables"]["curves"]} == {"a", "b", "c"}


@pytest.mark.thorough
def test_a_report_takes_the_place_of_the_one_before_but_of_nothing_else(
    inputs: Contents, report: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report"
    shutil.copytree(report, out)
    names = write_report(gather([], resamples=20), out)
    assert sorted(path.name for path in out.iterdir()) == names
    assert "curves-Breakout.png" not in names
    (out / "thoughts.txt").write_text("mine")
    with pytest.raises(UserError, match=r"thoughts.txt, which is not part of a report"):
        write_report(inputs, out)
    assert (out / "thoughts.txt").read_text() == "mine"
    for place in (tmp_path, out / "thoughts.txt"):
        with pytest.raises(UserError, match="choose another --out"):
            write_report(inputs, place)


def test_a_large_film_lies_beside_the_page(inputs: Contents, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(films, "EMBEDDED_BYTES", 10)
    (film,) = films.films(inputs.runs)
    original = inputs.runs[0].film
    assert film.beside == "film-1.mp4"
    assert original is not None
    assert film.data == original.read_bytes()
    text = page(inputs, dict.fromkeys(("aggregates", "profiles", "improvement"), b""), {}, [film])
    assert "film-1.mp4" in Reader(text).addresses


def test_a_damaged_film_is_refused_in_one_line(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / "dream.mp4").write_bytes(b"no film")
    with pytest.raises(UserError, match="delete it, the report does without"):
        write_report(gather([run], resamples=100), tmp_path / "report")
    assert not (tmp_path / "report").exists()
