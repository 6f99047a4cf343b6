"""A newcomer is told, once, that a network draws this; the first key or touch closes the card and does what it does."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pages import PHONE, open_page, pixels, touch, wait_for_step
from playwright.sync_api import Browser, BrowserContext, expect
from serving import Served, serving
from tiny_run import make_run, make_shooter_run, model_free

from diffworld.runs import load


@pytest.fixture
def visitor(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport=PHONE, has_touch=True, is_mobile=True)
    yield context
    context.close()


def test_the_first_key_closes_the_card_and_plays(visitor: BrowserContext, served: Served) -> None:
    page = open_page(visitor.new_page(), served, newcomer=True)
    expect(page.locator("#card")).to_be_visible()
    expect(page.locator("#card")).to_contain_text("A neural network draws this")
    expect(page.locator("#card-how")).to_contain_text("The agent is playing")
    wait_for_step(page, 2)  # it waits for nobody
    page.keyboard.press("Shift")
    expect(page.locator("#card")).to_be_visible()
    page.keyboard.down("ArrowRight")
    expect(page.locator("#card")).to_be_hidden()
    expect(page.locator("input[value=human]")).to_be_checked()
    page.wait_for_selector(".key.taken[data-key=RIGHT]")
    page.keyboard.up("ArrowRight")
    again = open_page(visitor.new_page(), served, newcomer=True)
    expect(again.locator("#card")).to_be_hidden()
    expect(again.locator("#banner")).to_contain_text("The agent is playing")
    assert not page.problems + again.problems  # type: ignore[attr-defined]


@pytest.mark.thorough
def test_the_first_touch_closes_the_card_and_plays(visitor: BrowserContext, served: Served) -> None:
    page = open_page(visitor.new_page(), served, newcomer=True)
    expect(page.locator("#card")).to_be_visible()
    touch(page, "pointerdown", ".key[data-key=LEFT]", "#pad")
    expect(page.locator("#card")).to_be_hidden()
    expect(page.locator("input[value=human]")).to_be_checked()
    page.wait_for_selector(".key.down.taken[data-key=LEFT]")


@pytest.mark.parametrize("where", ["#pause", "#card"])
@pytest.mark.cases(every=2)
def test_a_tap_on_anything_closes_the_card(visitor: BrowserContext, served: Served, where: str) -> None:
    page = open_page(visitor.new_page(), served, newcomer=True)
    box = page.locator(where).bounding_box()
    assert box
    page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(page.locator("#card")).to_be_hidden()
    expect(page.locator("#pause")).to_have_attribute("aria-label", "Go on" if where == "#pause" else "Pause")


def test_nothing_is_black_before_the_first_frame(visitor: BrowserContext, served: Served) -> None:
    page = visitor.new_page()
    page.add_init_script("window.WebSocket = class { send() {} }")  # a server that takes its time
    page.goto(served.origin)
    expect(page.locator("#cover-text")).to_have_text("Waking the dream…")
    expect(page.locator("#cover")).to_be_visible()
    page.keyboard.press("ArrowRight")  # nobody has seen the card yet
    page.close()
    page = open_page(visitor.new_page(), served, newcomer=True)
    expect(page.locator("#card")).to_be_visible()
    assert any(pixels(page, "[data-name=dream] canvas"))


@pytest.mark.thorough
def test_where_the_browser_keeps_nothing_the_page_still_plays(visitor: BrowserContext, served: Served) -> None:
    page = visitor.new_page()
    page.add_init_script("Object.defineProperty(window, 'localStorage', { get() { throw new Error('no storage'); } })")
    page = open_page(page, served, newcomer=True)
    page.keyboard.press("p")
    expect(page.locator("#card")).to_be_hidden()
    assert not page.problems  # type: ignore[attr-defined]


@pytest.mark.parametrize("agent", [True, False])
@pytest.mark.cases(every=2)
def test_the_card_says_only_what_is_true_of_the_run(visitor: BrowserContext, tmp_path: Path, agent: bool) -> None:
    run = make_run(tmp_path / "run", model_free()) if agent else make_shooter_run(tmp_path / "run")
    with serving(run) as served:
        page = open_page(visitor.new_page(), served, newcomer=True)
        if agent:  # and no dream
            expect(page.locator("#card")).to_be_hidden()
            page.keyboard.press("p")
            assert page.evaluate("localStorage.length") == 0  # it is still to be told, where it is true
        else:
            expect(page.locator("#card-how")).to_contain_text("Touch a key of the game to play.")
        page.close()


@pytest.mark.thorough
def test_another_model_is_chosen_on_the_page(visitor: BrowserContext, tmp_path: Path) -> None:
    first, second = load("demo/breakout", "cpu"), load("demo/boxing", "cpu")
    with serving(first, others=[second]) as served:
        page = open_page(visitor.new_page(), served)
        select = page.locator("#models select")
        expect(select.locator("option")).to_have_text([first.title, second.title])
        expect(select).to_have_value(first.title)
        select.select_option(second.title)
        page.wait_for_url(f"**/?model={second.title.replace('/', '%2F')}")
        expect(page).to_have_title("Boxing · diffworld")
        expect(select).to_have_value(second.title)
        wait_for_step(page, 2)
        assert not page.problems  # type: ignore[attr-defined]


@pytest.mark.thorough
def test_where_there_is_one_model_nothing_is_offered(visitor: BrowserContext, served: Served) -> None:
    page = open_page(visitor.new_page(), served)
    expect(page.locator("#models")).to_be_hidden()
    expect(page.locator("#title")).not_to_be_empty()
