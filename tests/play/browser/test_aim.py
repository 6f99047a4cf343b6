"""A shooter in the page: the mouse aims once it is grabbed, both stages are seen, replays go on by themselves."""

from collections.abc import Iterator

import pytest
from pages import PHONE, open_page, settled, step_of, wait_for_step
from playwright.sync_api import Browser, Page, expect
from serving import Served, serving
from tiny_run import make_two_stages_run


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(make_two_stages_run(tmp_path_factory.mktemp("aim") / "run")) as running:
        yield running


def grab(page: Page) -> None:
    page.click("#screens canvas >> nth=0")
    page.wait_for_selector("body.grabbed")


def turn(page: Page, right: int, down: int = 0) -> None:
    """As the mouse would: under a lock a browser tells nothing but how far it went."""
    page.evaluate(
        "([movementX, movementY]) => document.dispatchEvent(new MouseEvent('mousemove', { movementX, movementY }))",
        [right, down],
    )


def taken(page: Page, key: str) -> None:
    page.wait_for_selector(f".key.taken[data-key='{key}']")


@pytest.mark.parametrize("phone", [False, True])
@pytest.mark.cases(every=2)
def test_a_newcomer_is_told_how_one_aims(browser: Browser, served: Served, phone: bool) -> None:
    context = browser.new_context(viewport=PHONE, has_touch=True, is_mobile=True) if phone else browser.new_context()
    page = open_page(context.new_page(), served, newcomer=True)
    expect(page.locator("#card-how")).to_contain_text("Slide a finger" if phone else "Click the picture to aim")
    wait_for_step(page, 8)
    page.keyboard.press("?")
    page.wait_for_function("() => Number(document.body.dataset.step) < 8")  # nobody had played: it begins anew
    expect(page.locator("#help .of-mouse")).to_be_visible()
    context.close()


def test_a_click_grabs_the_mouse_and_its_way_turns(page: Page) -> None:
    page.click("#pause")
    turn(page, 200)
    page.click("#single")
    settled(page)
    expect(page.locator(".key.taken")).to_have_count(0)  # nothing is told of a mouse that was not grabbed
    grab(page)
    turn(page, 8)
    turn(page, 12)
    page.wait_for_timeout(200)
    page.keyboard.press(".")
    taken(page, "mouse x 6")  # 20 pixels of 100 for the outermost 30: summed, to the nearest bin
    page.keyboard.press(".")
    expect(page.locator(".key.taken")).to_have_count(0)
    turn(page, -500)
    page.wait_for_timeout(200)
    page.keyboard.press(".")
    page.wait_for_function("() => document.body.dataset.step >= 4")
    page.evaluate("document.exitPointerLock()")
    expect(page.locator("body.grabbed")).to_have_count(0)


@pytest.mark.thorough
def test_sensitivity_scales_the_way_and_is_remembered(page: Page) -> None:
    page.click("#pause")
    page.click("#panel-button")
    page.locator("#sensitivity").evaluate(
        "e => { e.value = 0.1; e.dispatchEvent(new Event('input')); e.dispatchEvent(new Event('change')); }"
    )
    expect(page.locator("output[for=sensitivity]")).to_have_text("0.1")
    assert page.evaluate("localStorage.getItem('diffworld-sensitivity')") == "0.1"
    page.click("#panel-close")
    grab(page)
    turn(page, 20)
    page.wait_for_timeout(200)
    page.keyboard.press(".")
    settled(page)
    expect(page.locator(".key.taken")).to_have_count(0)  # 0.6 of a bin of 6


def test_mouse_buttons_are_keys_of_the_game_while_it_is_grabbed(page: Page) -> None:
    grab(page)
    page.mouse.down()
    taken(page, "left click")
    page.mouse.up()
    expect(page.locator(".key.taken[data-key='left click']")).to_have_count(0)
    page.keyboard.down("w")
    taken(page, "w")
    page.keyboard.up("w")


def test_a_browser_without_pointer_lock_says_what_to_do(browser: Browser, served: Served) -> None:
    page = browser.new_page()
    page.add_init_script("delete Element.prototype.requestPointerLock")
    open_page(page, served)
    page.click("#screens canvas >> nth=0")
    expect(page.locator("#toast")).to_contain_text("turn with the arrow keys")
    page.keyboard.down("ArrowLeft")
    taken(page, "mouse x -6")
    page.close()


def test_both_stages_are_on_screen(page: Page) -> None:
    expect(page.locator("#inset")).to_be_visible()
    assert page.locator("#inset").evaluate("c => [c.width, c.height]") == [8, 8]
    page.keyboard.press("i")
    page.click("#tab-inside")
    expect(page.locator("#small_context canvas")).to_have_count(4)
    expect(page.locator("#small_trajectory canvas")).to_have_count(2)
    expect(page.locator("#context canvas")).to_have_count(1)
    page.click("#tab-controls")
    page.click("#quality")
    expect(page.locator("#quality[aria-pressed=true]")).to_be_visible()
    expect(page.locator("output[for=upsampling_steps]")).to_have_text("10")
    page.click("#tab-inside")
    expect(page.locator("#trajectory canvas")).to_have_count(11)
    expect(page.locator("#small_trajectory canvas")).to_have_count(4)
    page.click("#tab-controls")
    page.click("#fast")
    expect(page.locator("output[for=denoising_steps]")).to_have_text("1")
    page.locator("#show-inset").uncheck()
    expect(page.locator("#inset")).to_be_hidden()


def test_a_replay_plays_and_a_key_takes_over(page: Page) -> None:
    page.click("#panel-button")
    page.click("#replay")
    page.wait_for_selector("body[data-player=replay]")
    expect(page.locator("input[value=replay] + span")).to_be_visible()
    page.click("#panel-close")
    step = step_of(page)
    page.wait_for_function("step => Number(document.body.dataset.step) !== step", arg=step)
    page.keyboard.press("w")
    page.wait_for_selector("body[data-player=human]")


@pytest.mark.thorough
def test_rewind_and_record_go_on_as_everywhere(page: Page) -> None:
    wait_for_step(page, 5)
    page.click("#pause")
    step = settled(page)
    page.keyboard.down("Backspace")
    page.wait_for_function("step => Number(document.body.dataset.step) < step", arg=step)
    page.keyboard.up("Backspace")
    page.click("#record")
    page.wait_for_selector("body.recording")
    page.keyboard.press(".")
    page.click("#record")
    expect(page.locator("#toast")).to_contain_text("recording is kept")


def test_the_page_says_when_the_keys_go_elsewhere(page: Page) -> None:
    page.evaluate("dispatchEvent(new Event('blur'))")
    expect(page.locator("#banner.shown")).to_contain_text("Click here to play")
    page.evaluate("dispatchEvent(new Event('focus'))")
    expect(page.locator("#banner.shown")).to_have_count(0)
    page.keyboard.down("d")
    taken(page, "d")
    page.keyboard.up("d")


@pytest.mark.thorough
def test_two_tabs_aim_apart(browser: Browser, served: Served) -> None:
    one, two = (open_page(browser.new_page(), served) for _ in range(2))
    one.keyboard.down("w")
    taken(one, "w")
    expect(two.locator(".key.taken[data-key=w]")).to_have_count(0)
    one.close()
    two.close()


@pytest.mark.thorough
def test_on_a_phone_one_walks_with_a_pad_and_looks_with_a_finger(browser: Browser, served: Served) -> None:
    context = browser.new_context(viewport=PHONE, has_touch=True, is_mobile=True)
    page = open_page(context.new_page(), served)
    assert page.locator("#pad .key").evaluate_all("keys => keys.map(k => k.dataset.way)") == [
        "UP",
        "LEFT",
        "DOWN",
        "RIGHT",
    ]
    page.tap("#pause")
    settled(page)
    page.evaluate(
        """() => {
            const screens = document.querySelector("#screens");
            const finger = (kind, x) => screens.dispatchEvent(new PointerEvent(kind,
                { pointerId: 9, pointerType: "touch", clientX: x, clientY: 100, bubbles: true }));
            finger("pointerdown", 100);
            finger("pointermove", 130);
            finger("pointerup", 130);
        }"""
    )
    page.wait_for_timeout(200)
    page.tap("#single")
    taken(page, "mouse x 6")
    context.close()
