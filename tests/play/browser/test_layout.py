"""Windows of every size: each control can be reached, is as large as a finger, and lies over no picture."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import open_page, settled, shown, wait_for_step
from playwright.sync_api import Browser, Page, expect
from serving import Served, serving
from tiny_run import make_shooter_run, make_two_stages_run

from diffworld.runs import load

Window = dict[str, Any]


def window(width: int, height: int, **options: Any) -> Window:
    return {"viewport": {"width": width, "height": height}, **options}


TOUCH = {"has_touch": True, "is_mobile": True}
WINDOWS = {
    "desk": window(1280, 720),
    "desk at 200 %": window(640, 360, device_scale_factor=2),  # 1280x720, to the page the same as this
    "320x480": window(320, 480),
    "phone": window(390, 780, device_scale_factor=3, **TOUCH),
    "phone on its side": window(780, 390, device_scale_factor=3, **TOUCH),
    "tablet": window(820, 1180, device_scale_factor=2, **TOUCH),
    "small landscape": window(480, 320),
}

FAULTS = """async () => {
    const faults = [];
    const seen = (element) => element.checkVisibility({ visibilityProperty: true });
    const shown = (element) => seen(element) && element.getBoundingClientRect().width > 0;
    const dialog = document.querySelector("dialog[open]");
    const within = dialog ?? document;
    const canvases = dialog ? [] : [...document.querySelectorAll(".screen canvas")].filter(shown);
    const pictures = canvases.map((canvas) => canvas.getBoundingClientRect());
    for (const { left, right, top, bottom } of pictures) {
        if (left < 0 || top < 0 || right > innerWidth || bottom > innerHeight) faults.push("a picture is cut off");
    }
    for (const control of within.querySelectorAll("button, input, select, .key")) {
        const box = control.matches("[type=radio], [type=checkbox]") ? control.closest("label") : control;
        if (!shown(box)) continue;
        const name = control.id || control.value || control.dataset.key || control.textContent || control.ariaLabel;
        const scrolls = box.closest("dialog, [role=tabpanel], .buttons");
        if (scrolls) box.scrollIntoView({ block: "center" });
        const rect = box.getBoundingClientRect();
        const { left, right, top, bottom, width, height } = rect;
        if (width < 43.99 || height < 43.99) faults.push(`${name} is ${width} x ${height}`);
        const fitsAcross = left >= 0 && right <= innerWidth + .01;
        const fitsUpright = top >= 0 && bottom <= innerHeight + .01 || scrolls && height > scrolls.clientHeight;
        if (!fitsAcross || !fitsUpright) faults.push(`${name} is outside`);
        const hit = document.elementFromPoint((left + right) / 2, (top + bottom) / 2);
        if (!hit || !(box.contains(hit) || hit.contains(box) && hit.matches(".pad"))) {
            faults.push(`${name} lies under ${hit?.id || hit?.className}`);
        }
        if (pictures.some((p) => left < p.right && p.left < right && top < p.bottom && p.top < bottom)) {
            faults.push(`${name} lies over a picture`);
        }
    }
    if (document.documentElement.scrollWidth > innerWidth) faults.push("the page is wider than its window");
    return faults;
}"""
DRAW_THREE = """async ([width, height]) => {
    const { Stage } = await import("/static/stage.js");
    const picture = Object.assign(document.createElement("canvas"), { width, height });
    const pictures = { dream: picture, real: picture, difference: picture };
    new Stage().frame({ step: 0, score: 0, real_score: 0, reward: 0, why: "" }, pictures);
    await new Promise((shown) => requestAnimationFrame(() => requestAnimationFrame(shown)));
}"""
TRANSPORT = ["restart", "rewind", "pause", "single", "record"]


@pytest.fixture(scope="module")
def served(run_folder: Path) -> Iterator[Served]:
    """Beside another model, so that there is a choice to be made."""
    with serving(run_folder, others=[load("demo/boxing", "cpu")]) as running:
        yield running


@pytest.fixture(scope="module", params=WINDOWS)
def opened(browser: Browser, served: Served, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A paused game in a window of each size in turn; opening it takes longer than looking at it."""
    context = browser.new_context(**WINDOWS[request.param])
    page = open_page(context.new_page(), served)
    page.keyboard.press("p")
    settled(page)
    yield page
    problems: list[str] = page.problems  # type: ignore[attr-defined]
    context.close()
    assert not problems, problems


@pytest.fixture
def small(opened: Page) -> Page:
    """Each test begins in the dream alone."""
    opened.locator("#world .of-dream").click()
    expect(opened.locator("body")).to_have_attribute("data-world", "dream")
    return opened


def faults(page: Page) -> list[str]:
    missing = [each for each in TRANSPORT if not page.locator(f"#{each}").is_visible()]
    found: list[str] = page.evaluate(FAULTS)
    return missing + found


@pytest.mark.cases(every=3)
def test_frames_of_any_size_stay_within_their_place(small: Page) -> None:
    for size in ((700, 500), (160, 210), (40, 300), (500, 30)):
        for _ in range(20):  # until no late frame of the page's own has come between
            small.evaluate(DRAW_THREE, size)
            if shown(small) == ["dream", "real", "difference"]:
                break
        assert shown(small) == ["dream", "real", "difference"]
        assert not faults(small), size


@pytest.mark.cases(every=3)
def test_every_control_is_within_reach(small: Page) -> None:
    for world in ("real", "both", "dream"):
        small.locator(f"#world .of-{world}").click()
        expect(small.locator("body")).to_have_attribute("data-world", world)
        small.wait_for_function("n => document.querySelectorAll('.screen:not([hidden])').length === n",
                                arg=3 if world == "both" else 1)  # fmt: skip
        assert not faults(small), world
        for tab in ("controls", "inside", "data"):
            small.click("#panel-button")
            small.click(f"#tab-{tab}")
            expect(small.locator("#episodes .episode").first).to_be_visible(visible=tab == "data")
            if tab == "controls":
                for about in small.locator(".about:visible").all():
                    about.click()
            assert not faults(small), (world, tab)
            small.click("#panel-close")


@pytest.mark.cases(every=3)
def test_every_dialog_and_view_is_within_reach(small: Page) -> None:
    small.click("#help-button")
    assert not faults(small)
    small.keyboard.press("Escape")
    small.click("#panel-button")
    small.click("#tab-controls")
    small.click("#choose-start")
    expect(small.locator("#gallery button")).to_have_count(24)
    assert not faults(small)
    small.keyboard.press("Escape")
    small.click("#tab-data")
    small.locator(".episode").first.click()
    expect(small.locator("#viewer")).to_have_attribute("data-step", "0")
    assert not faults(small)
    small.click("#viewer-watch")  # one player more to choose
    expect(small.locator("input[value=recording]")).to_be_checked()
    small.click("#panel-close")
    assert not faults(small)


@pytest.mark.cases(every=3)
def test_the_picture_is_as_large_as_the_window_lets_it(small: Page) -> None:
    side = small.locator("[data-name=dream] canvas").evaluate("c => c.getBoundingClientRect().width")
    room = small.locator("#screens").evaluate("s => Math.min(s.clientWidth, s.clientHeight)")
    assert side > 0.6 * (room - 40), "there is room for more"
    assert side >= 96


@pytest.mark.thorough
def test_a_game_of_many_keys_is_within_reach(browser: Browser, tmp_path: Path) -> None:
    with serving(make_shooter_run(tmp_path / "run")) as served:
        for name in ("phone", "small landscape"):
            context = browser.new_context(**WINDOWS[name])
            page = open_page(context.new_page(), served)
            expect(page.locator(".key")).to_have_count(5)
            page.keyboard.press("p")
            settled(page)
            assert not faults(page), name
            context.close()


@pytest.mark.thorough
def test_two_stages_and_a_mouse_are_within_reach(browser: Browser, tmp_path: Path) -> None:
    with serving(make_two_stages_run(tmp_path / "run")) as served:
        for name in ("desk", "320x480", "phone", "small landscape"):
            context = browser.new_context(**WINDOWS[name])
            page = open_page(context.new_page(), served)
            page.keyboard.press("p")
            settled(page)
            assert not faults(page), name
            page.click("#panel-button")
            page.click("#tab-controls")
            expect(page.locator("#upsampling_steps")).to_be_visible()
            for about in page.locator(".about:visible").all():
                about.click()
            assert not faults(page), name
            context.close()


# The light and the dark

CONTRAST = """() => {
    const parse = (colour) => {
        const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const light = ([r, g, b]) => [[r, .2126], [g, .7152], [b, .0722]].reduce((sum, [v, w]) =>
        sum + w * (v / 255 <= .04045 ? v / 255 / 12.92 : ((v / 255 + .055) / 1.055) ** 2.4), 0);
    const ground = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const style = getComputedStyle(at);
            if (style.backgroundImage !== "none") return null;
            const colour = parse(style.backgroundColor);
            if (colour[3] === 255) return colour;
            if (colour[3] > 0) return null; // mixed with what lies behind it
        }
        return parse(getComputedStyle(document.documentElement).backgroundColor);
    };
    const weak = {};
    for (const element of document.querySelectorAll("body *")) {
        const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
        if (!own || !element.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
        if (element.closest("button:disabled, [aria-hidden=true]")) continue;
        const behind = ground(element);
        if (!behind) continue;
        const [a, b] = [light(parse(getComputedStyle(element).color)), light(behind)];
        const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
        if (ratio < 4.5) weak[element.textContent.slice(0, 30)] = ratio;
    }
    return { weak, page: light(parse(getComputedStyle(document.documentElement).backgroundColor)) };
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.thorough
def test_the_page_is_light_or_dark_as_one_likes_and_can_be_read(browser: Browser, served: Served, scheme: str) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 800}, color_scheme=scheme)  # type: ignore[arg-type]
    page = open_page(context.new_page(), served)
    page.click("#world .of-both")
    page.wait_for_function("() => document.querySelectorAll('.screen:not([hidden])').length === 3")
    page.keyboard.press("p")
    for tab in ("controls", "inside", "data"):
        page.click("#panel-button")
        page.click(f"#tab-{tab}")
        expect(page.locator("#episodes .episode").first).to_be_visible(visible=tab == "data")
        found = page.evaluate(CONTRAST)
        assert (found["page"] > 0.5) == (scheme == "light")
        assert not found["weak"], tab
        page.click("#panel-close")
    page.click("#help-button")
    assert not page.evaluate(CONTRAST)["weak"]
    context.close()


@pytest.mark.thorough
def test_a_window_may_change_while_one_plays(page: Page) -> None:
    for width, height in ((320, 480), (640, 360), (1280, 720)):
        page.set_viewport_size({"width": width, "height": height})
        wait_for_step(page, 1)
        page.wait_for_function("([w, h]) => innerWidth === w && innerHeight === h", arg=[width, height])
        page.wait_for_timeout(100)  # the picture follows at the next frame
        assert not faults(page)
    assert shown(page) == ["dream"]
