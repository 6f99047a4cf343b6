"""A browser without a screen, and the page open in it."""

import shutil
from collections.abc import Iterator

import pytest
from pages import CHROMIUM, WIDE, open_page
from playwright.sync_api import Browser, Page, sync_playwright
from serving import LIMIT, Served, wait_for


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    assert path, "these tests need Chromium; install it, on Debian and Ubuntu with: apt-get install chromium"
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu"]
        running = playwright.chromium.launch(executable_path=path, args=options, timeout=1000 * LIMIT)
        yield running
        running.close()


@pytest.fixture
def page(browser: Browser, served: Served) -> Iterator[Page]:
    before = served.state.queue.playing
    context = browser.new_context(viewport=WIDE, accept_downloads=True)
    opened = open_page(context.new_page(), served)
    yield opened
    problems: list[str] = opened.problems  # type: ignore[attr-defined]
    context.close()
    assert not problems, problems
    wait_for(lambda: served.state.queue.playing <= before)  # a closed tab frees its session
