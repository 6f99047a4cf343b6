"""A gamepad plays: stick and cross, the buttons under the thumb, and the transport on the rest."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pages import open_page, settled, step_of, wait_for_step
from playwright.sync_api import Browser, Page, expect
from serving import Served, serving
from tiny_run import make_shooter_run

PLUGGED = """
    const buttons = Array.from({ length: 17 }, () => ({ pressed: false }));
    window.pad = { connected: true, axes: [0, 0, 0, 0], buttons };
    navigator.getGamepads = () => [null, window.pad];
"""


@pytest.fixture
def pad(browser: Browser, served: Served) -> Iterator[Page]:
    context = browser.new_context()
    context.add_init_script(PLUGGED)
    page = open_page(context.new_page(), served)
    yield page
    problems: list[str] = page.problems  # type: ignore[attr-defined]
    context.close()
    assert not problems, problems


def press(page: Page, button: int, down: bool = True) -> None:
    page.evaluate("([i, on]) => { pad.buttons[i].pressed = on; }", [button, down])


def lean(page: Page, x: float, y: float) -> None:
    page.evaluate("([x, y]) => { pad.axes[0] = x; pad.axes[1] = y; }", [x, y])


def test_stick_cross_and_buttons_are_the_keys(pad: Page) -> None:
    lean(pad, -0.9, 0.1)
    pad.wait_for_selector(".key.down.taken[data-key=LEFT]")
    expect(pad.locator("input[value=human]")).to_be_checked()  # it takes over, as a key does
    lean(pad, 0.3, 0.1)
    expect(pad.locator(".key.down")).to_have_count(0)
    press(pad, 15)
    pad.wait_for_selector(".key.down.taken[data-key=RIGHT]")
    press(pad, 15, False)
    for button in (0, 3):
        press(pad, button)
        pad.wait_for_selector(".key.down.taken[data-key=FIRE]")
        press(pad, button, False)
        expect(pad.locator(".key.down")).to_have_count(0)


@pytest.mark.thorough
def test_pause_step_rewind_and_new_game(pad: Page) -> None:
    wait_for_step(pad, 12)
    press(pad, 9)
    pad.wait_for_selector("body.paused")
    press(pad, 9, False)
    stood = settled(pad)
    press(pad, 5)
    wait_for_step(pad, stood + 1)
    press(pad, 5, False)
    assert settled(pad) == stood + 1  # held, it is still one step
    press(pad, 4)
    pad.wait_for_function("step => Number(document.body.dataset.step) <= step", arg=stood - 5)
    press(pad, 4, False)
    expect(pad.locator("body")).not_to_have_class("rewinding")
    settled(pad)
    press(pad, 8)
    pad.wait_for_function("() => Number(document.body.dataset.step) === 0")
    press(pad, 8, False)


@pytest.mark.thorough
def test_a_gamepad_that_comes_later_and_goes(page: Page) -> None:
    page.evaluate(PLUGGED + "; dispatchEvent(new Event('gamepadconnected'));")
    lean(page, 0.9, 0)
    page.wait_for_selector(".key.down[data-key=RIGHT]")
    page.evaluate("() => { pad.connected = false; }")
    expect(page.locator(".key.down")).to_have_count(0)  # nothing stays held
    before = step_of(page)
    wait_for_step(page, before + 2)


@pytest.mark.thorough
def test_other_games_have_their_keys_under_it(browser: Browser, tmp_path: Path) -> None:
    with serving(make_shooter_run(tmp_path / "run")) as served:
        context = browser.new_context()
        context.add_init_script(PLUGGED)
        page = open_page(context.new_page(), served)
        lean(page, 0, -0.9)
        page.wait_for_selector(".key.down[data-key=w]")
        press(page, 0)
        page.wait_for_selector(".key.down[data-key=space]")
        press(page, 1)
        page.wait_for_selector(".key.down[data-key='mouse x -4']")
        context.close()
