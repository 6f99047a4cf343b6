"""The page in a real browser: everything on it loads, nothing sticks out, and it prints."""

import json
import shutil
from collections.abc import Iterator

import pytest
from run_folders import make_run

from diffworld.report.contents import gather
from diffworld.report.write import write_report

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator["sync_api.Page"]:
    folder = tmp_path_factory.mktemp("browser")
    (folder / "x.json").write_text(json.dumps({"method": "A method with a long name", "scores": {"Pong": [1, 2]}}))
    runs = [make_run(folder / "a", film=True), make_run(folder / "b", "atari/Tennis")]
    write_report(gather([*runs, folder / "x.json"], resamples=20), folder / "report")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.requests = []
        page.on("request", lambda request: page.requests.append(request.url))
        page.complaints = []
        page.on("console", lambda message: page.complaints.append(message.text))
        page.goto((folder / "report" / "report.html").as_uri())
        yield page
        browser.close()


def test_everything_loads_and_nothing_is_fetched(tab: "sync_api.Page") -> None:
    assert tab.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    tab.wait_for_function("[...document.querySelectorAll('video')].every(video => video.readyState > 0)")
    assert [url for url in tab.requests if not url.startswith(("data:", "file:"))] == []
    assert len([url for url in tab.requests if url.startswith("file:")]) == 1
    assert tab.complaints == []


@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.cases(every=2)
def test_nothing_sticks_out(tab: "sync_api.Page", width: int) -> None:
    tab.set_viewport_size({"width": width, "height": 900})
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_table_headings_stay_in_sight(tab: "sync_api.Page") -> None:
    tab.set_viewport_size({"width": 1280, "height": 500})
    tab.evaluate("document.querySelector('#games tbody tr:nth-child(20)').scrollIntoView()")
    top = tab.evaluate("document.querySelector('#games thead th').getBoundingClientRect().top")
    assert top == pytest.approx(0, abs=1)


def test_it_prints(tab: "sync_api.Page") -> None:
    pdf = tab.pdf(prefer_css_page_size=True)
    assert pdf.startswith(b"%PDF")
    pages = pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page/") + pdf.count(b"/Type /Page ")
    assert 5 <= pages <= 12
