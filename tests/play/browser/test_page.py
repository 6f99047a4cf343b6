"""The real page in a real browser: keys, worlds, settings, starts, recordings, tabs."""

import re
import time
from pathlib import Path
from typing import Any

import pytest
from pages import move, open_page, pixels, settled, shown, step_of, take_steps, wait_for_step
from playwright.sync_api import Browser, Page, expect
from serving import LIMIT, Served, serving, wait_for

from diffworld.play.session import PlaySession
from diffworld.play.view import View


def test_the_agent_plays_until_a_key_takes_over(page: Page) -> None:
    expect(page.locator("input[value=agent]")).to_be_checked()
    expect(page.locator("#banner")).to_contain_text("The agent is playing")
    before = pixels(page, "[data-name=dream] canvas")
    wait_for_step(page, step_of(page) + 3)
    assert pixels(page, "[data-name=dream] canvas") != before
    page.keyboard.down("ArrowRight")
    expect(page.locator(".key.down.taken[data-key=RIGHT]")).to_be_visible()  # pressed, and the world took it
    expect(page.locator("input[value=human]")).to_be_checked()
    expect(page.locator("body")).to_have_attribute("data-player", "human")
    page.keyboard.up("ArrowRight")
    expect(page.locator(".key[data-key=RIGHT]")).to_have_class("key")
    page.keyboard.press("p")
    settled(page)
    page.keyboard.press("Space")  # a tap between two frames still counts
    page.keyboard.press(".")
    page.wait_for_selector(".key[data-key=FIRE].taken")
    canvas = page.locator("[data-name=dream] canvas")
    assert canvas.evaluate("c => getComputedStyle(c).imageRendering") == "pixelated"
    scale = canvas.evaluate("c => c.getBoundingClientRect().width / c.width * devicePixelRatio")
    assert scale == pytest.approx(round(scale)) and scale >= 10


def test_pause_step_rewind_and_restart(page: Page) -> None:
    wait_for_step(page, 20)
    page.keyboard.press("p")
    expect(page.locator("#pause")).to_have_attribute("aria-label", "Go on")
    stood = settled(page)
    page.click("#single")
    wait_for_step(page, stood + 1)
    assert settled(page) == stood + 1
    page.keyboard.down("Backspace")
    page.wait_for_function("step => Number(document.body.dataset.step) <= step", arg=stood - 5)
    page.keyboard.up("Backspace")
    expect(page.locator("body")).not_to_have_class("rewinding")
    expect(page.locator("#pause")).to_have_attribute("aria-label", "Go on")  # as it was before
    page.keyboard.press("r")
    page.wait_for_function("() => Number(document.body.dataset.step) === 0")
    page.keyboard.press("p")
    wait_for_step(page, 3)


def test_worlds_are_switched_and_shown_side_by_side(page: Page) -> None:
    assert shown(page) == ["dream"]
    page.click("#world .of-real")
    expect(page.locator(".screen.of-real")).to_be_visible()
    expect(page.locator(".screen.of-dream")).to_be_hidden()
    page.click("#world .of-both")
    expect(page.locator(".screen.of-difference")).to_be_visible()
    assert shown(page) == ["dream", "real", "difference"]
    wait_for_step(page, 2)
    page.keyboard.press("p")
    settled(page)
    dream, real, difference = (pixels(page, f"[data-name={n}] canvas") for n in ("dream", "real", "difference"))
    colours = [i for i in range(len(dream)) if i % 4 != 3]
    assert [difference[i] for i in colours] == [min(max(128 + 4 * (real[i] - dream[i]), 0), 255) for i in colours]
    expect(page.locator("#difference-caption")).to_have_text("Real − dream ×4")
    expect(page.locator("#real-score-box")).to_be_visible()
    page.keyboard.press("v")
    expect(page.locator(".screen.of-real")).to_be_hidden()


@pytest.mark.parametrize("first", ["dream", "real", "both"])
@pytest.mark.parametrize("then", ["dream", "real", "both"])
@pytest.mark.cases(every=9)
def test_a_rewind_goes_back_into_the_world_before(page: Page, first: str, then: str) -> None:
    page.keyboard.press("p")
    settled(page)
    page.click(f"#world .of-{first}")
    expect(page.locator("body")).to_have_attribute("data-world", first)
    take_steps(page, 8)
    earlier = [first, step_of(page) - 3]
    page.click(f"#world .of-{then}")
    expect(page.locator("body")).to_have_attribute("data-world", then)
    take_steps(page, 3)
    page.keyboard.down("Backspace")
    page.wait_for_function(
        "([world, step]) => document.body.dataset.world === world && Number(document.body.dataset.step) <= step",
        arg=earlier,
    )
    page.keyboard.up("Backspace")
    expect(page.locator(f"input[value={first}]")).to_be_checked()
    stood = settled(page)
    page.keyboard.press("p")
    wait_for_step(page, stood + 2)
    assert shown(page) == (["dream", "real", "difference"] if first == "both" else [first])
    expect(page.locator("#cover")).to_be_hidden()


def test_settings_change_what_the_model_does(page: Page) -> None:
    page.keyboard.press("i")
    expect(page.locator("#trajectory canvas")).to_have_count(3)  # two denoising steps
    expect(page.locator("#context canvas")).to_have_count(4)
    expect(page.locator("#policy-bars .bar")).to_have_count(4)
    expect(page.locator("#reward-bars b").first).to_contain_text("%")
    expect(page.locator("#time-legend")).to_contain_text("Denoiser")
    page.click("#tab-controls")
    move(page, "#denoising_steps", 7)
    move(page, "#fps", 30)
    page.locator("#seed").fill("12")
    page.locator("#seed").press("Tab")
    page.click("label:has(input[name=order][value='2'])")
    page.click("#tab-inside")
    expect(page.locator("#trajectory canvas")).to_have_count(8)
    page.click("#tab-controls")
    expect(page.locator("#denoising_steps")).to_have_value("7")
    expect(page.locator("output[for=fps]")).to_have_text("30")
    expect(page.locator("#seed")).to_have_value("12")
    expect(page.locator("input[name=order][value='2']")).to_be_checked()
    page.keyboard.press("Escape")
    expect(page.locator("#panel")).to_be_hidden()


def test_a_start_is_chosen_from_the_replay(page: Page) -> None:
    page.keyboard.press("p")
    settled(page)
    page.click("#panel-button")
    page.click("#choose-start")
    expect(page.locator("#gallery button")).to_have_count(24)
    page.click("#starts-more")
    expect(page.locator("#starts-range")).to_contain_text("25 to 48")
    page.locator("#gallery button").nth(3).click()
    expect(page.locator("#starts")).to_be_hidden()
    page.wait_for_function("() => Number(document.body.dataset.step) === 0")


def test_record_then_scrub_export_and_watch(page: Page, tmp_path: Path) -> None:
    page.keyboard.press("p")
    page.keyboard.press("c")
    expect(page.locator("#badge")).to_have_text("recording")
    take_steps(page, 10)
    page.keyboard.press("c")
    expect(page.locator("#toast")).to_contain_text("under Data")
    page.click("#panel-button")
    page.click("#tab-data")
    page.locator(".dataset", has_text="Dream").first.click()
    page.locator(".episode").first.click()
    expect(page.locator("#viewer")).to_have_attribute("data-step", "0")
    first = pixels(page, "#viewer-canvas")
    setting_to = int(page.get_attribute("#viewer-step", "max") or 0)
    assert setting_to >= 8
    page.locator("#viewer-step").evaluate("(e, v) => { e.value = v; e.dispatchEvent(new Event('input')); }", setting_to)
    expect(page.locator("#viewer")).to_have_attribute("data-step", str(setting_to))
    assert pixels(page, "#viewer-canvas") != first
    expect(page.locator("#viewer-caption")).to_contain_text(f"Step {setting_to} of")
    with page.expect_download() as download:
        page.click("#export-gif")
    download.value.save_as(tmp_path / "film.gif")
    assert (tmp_path / "film.gif").read_bytes()[:4] == b"GIF8"
    page.click("#viewer-watch")
    expect(page.locator("body")).to_have_attribute("data-player", "recording")
    expect(page.locator("input[value=recording]")).to_be_checked()


@pytest.mark.thorough
def test_two_tabs_play_two_games(page: Page, served: Served) -> None:
    other = open_page(page.context.new_page(), served)
    page.keyboard.press("p")
    page.click("#world .of-real")
    expect(page.locator(".screen.of-real")).to_be_visible()
    assert shown(other) == ["dream"]
    wait_for_step(other, step_of(other) + 5)
    assert served.state.queue.playing == 2
    other.close()
    wait_for(lambda: served.state.queue.playing == 1)


def test_one_too_many_is_told_to_wait_and_gets_in(browser: Browser, run_folder: Path) -> None:
    with serving(run_folder, max_players=1) as small:
        first = open_page(browser.new_page(), small)
        second = browser.new_page()
        second.set_default_timeout(1000 * LIMIT)
        second.goto(small.origin)
        expect(second.locator("#cover-text")).to_contain_text("You are next")
        first.close()
        expect(second.locator("#cover")).to_be_hidden()
        wait_for_step(second, 2)
        second.close()


def test_the_help_is_one_key_away_and_lists_the_keys(page: Page) -> None:
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    expect(page.locator("#help-keys")).to_contain_text("fire")
    page.keyboard.press("Escape")
    expect(page.locator("#help")).to_be_hidden()


def test_a_page_whose_server_has_gone_says_how_to_start_it_and_goes_on(browser: Browser, run_folder: Path) -> None:
    with serving(run_folder) as once:
        once.state.command = "diffworld play runs/boxing"
        page = open_page(browser.new_page(), once)
    expect(page.locator("#cover-text")).to_contain_text("The server has gone")
    expect(page.locator("#gone")).to_contain_text("Start it again in a terminal")
    expect(page.locator("#command")).to_have_text("diffworld play runs/boxing")
    with serving(run_folder, port=once.address.port):
        expect(page.locator("#cover")).to_be_hidden()
        wait_for_step(page, 2)
    page.close()


def test_what_is_delivered_is_said_beside_what_was_asked_for(
    page: Page, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = PlaySession.step

    def slow(session: PlaySession, action: Any = None) -> View:
        time.sleep(0.25)
        return own(session, action)

    monkeypatch.setattr(PlaySession, "step", slow)
    expect(page.locator("#rate")).to_have_text(re.compile(r"^[1-4] of 15 fps$"))
    expect(page.locator("#rate")).to_have_class("behind")
    page.keyboard.press("p")
    page.wait_for_selector("body.paused")
    expect(page.locator("#rate")).to_have_text("")


@pytest.mark.thorough
def test_the_rate_counts_what_reaches_the_screen(page: Page) -> None:
    page.keyboard.press("p")
    settled(page)
    found = page.evaluate(
        """async () => {
            const { Rate } = await import("/static/rate.js");
            let show = [];
            window.requestAnimationFrame = (work) => show.push(work);
            const seen = (until, every) => {
                const rate = new Rate();
                rate.restart(0);
                for (let now = until - 3000; now <= until; now += every) {
                    for (let i = 0; i < 3; i++) rate.drawn(); // the screen shows the last one
                    for (const work of show.splice(0)) work(now);
                }
                return rate;
            };
            const [steady, late, anew] = [seen(10000, 1000 / 15), seen(10000, 250), seen(10000, 100)];
            anew.restart(10000);
            return [
                steady.read(15, 10000), late.read(15, 10000), late.read(4, 10000), steady.read(15, 11000),
                steady.read(15, 20000), anew.read(10, 10500), anew.read(10, 11000),
            ];
        }"""
    )
    assert [each["text"] for each in found] == [
        *("15 fps", "4 of 15 fps", "4 fps", "7 of 15 fps"),
        *("0 of 15 fps", "", "0 of 10 fps"),
    ]
    assert [each["behind"] for each in found] == [False, True, False, True, True, False, True]


@pytest.mark.parametrize("by", ["keyboard", "touch"])
@pytest.mark.cases(every=2)
def test_what_a_setting_means_is_told_by_keyboard_and_by_touch(browser: Browser, served: Served, by: str) -> None:
    context = browser.new_context(has_touch=True)
    page = open_page(context.new_page(), served)
    page.click("#panel-button")
    for name, words in {
        "steps": "set up for 2",
        "order": "the network once",
        "churn": "noise",
        "horizon": "cut",
        "temperature": "likeliest",
        "rules": "lost life",
        "seed": "same frames",
    }.items():
        button, text = page.locator(f"[aria-controls=about-{name}]"), page.locator(f"#about-{name}")
        expect(text).to_be_hidden()
        if by == "keyboard":
            button.focus()
            page.keyboard.press("Enter")
        else:
            button.tap()
        expect(text).to_be_visible()
        expect(text).to_contain_text(words)
        expect(button).to_have_attribute("aria-expanded", "true")
        assert page.evaluate("b => document.activeElement === b || document.activeElement === document.body",
                             button.element_handle())  # fmt: skip
    context.close()


@pytest.mark.parametrize(("own", "words"), [(1, "fall apart sooner"), (3, "faster and blurrier")])
@pytest.mark.cases(every=2)
def test_what_more_steps_do_is_told_of_this_very_model(page: Page, own: int, words: str) -> None:
    told = page.evaluate("async n => (await import('/static/controls.js')).aboutSteps(n)", own)
    assert f"set up for {own}." in told and words in told


@pytest.mark.thorough
def test_settings_go_back_to_the_models_own(page: Page) -> None:
    page.click("#panel-button")
    for name, value in {"denoising_steps": 7, "churn": 40, "temperature": 2, "fps": 40}.items():
        move(page, f"#{name}", value)
    page.click("label:has(input[name=order][value='2'])")
    page.click("label:has(input[name=rules][value=train])")
    for name, value in {"horizon": 50, "seed": 12}.items():
        page.locator(f"#{name}").fill(str(value))
        page.locator(f"#{name}").press("Tab")
    expect(page.locator("#horizon")).to_have_value("50")
    page.click("#defaults")
    for name, text in {
        "denoising_steps": "2",
        "churn": "0",
        "temperature": "1",
        "fps": "15",
        "horizon": "1000",
    }.items():
        expect(page.locator(f"#{name}")).to_have_value(text)
    expect(page.locator("input[name=order][value='1']")).to_be_checked()
    expect(page.locator("input[name=rules][value=test]")).to_be_checked()
    expect(page.locator("#seed")).to_have_value("12")  # a seed is chosen, not a matter of taste


def test_inside_begins_with_the_frame_as_it_is_drawn(page: Page) -> None:
    page.keyboard.press("i")
    expect(page.locator("#trajectory canvas")).to_have_count(3)
    tops = [page.locator(f"#{name}").bounding_box() for name in ("trajectory", "context", "reward-bars", "policy-bars")]
    heights = [box["y"] for box in tops if box]
    assert len(heights) == 4 and heights == sorted(heights)
    assert page.locator("#context").evaluate("e => e.getBoundingClientRect().bottom <= innerHeight")
