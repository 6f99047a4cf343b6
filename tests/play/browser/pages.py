"""What the browser tests do with a page."""

import time

from playwright.sync_api import Page, expect
from serving import LIMIT, Served

expect.set_options(timeout=1000 * LIMIT)
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WIDE = {"width": 1000, "height": 700}
PHONE = {"width": 390, "height": 780}


def open_page(page: Page, served: Served, newcomer: bool = False) -> Page:
    """Load the page and wait until it plays; everything it complains about is collected.

    A newcomer is shown the card; nobody else is.
    """
    if not newcomer:
        page.add_init_script("localStorage.setItem('diffworld-met', '1')")
    problems: list[str] = []
    page.problems = problems  # type: ignore[attr-defined]
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.set_default_timeout(1000 * LIMIT)
    page.emulate_media(reduced_motion="reduce")  # without a GPU transitions cost much
    page.goto(served.origin)
    expect(page.locator("#cover")).to_be_hidden()
    wait_for_step(page, 1)
    return page


def step_of(page: Page) -> int:
    return int(page.get_attribute("body", "data-step") or -1)


def wait_for_step(page: Page, step: int) -> None:
    page.wait_for_function("step => Number(document.body.dataset.step) >= step", arg=step)


def take_steps(page: Page, count: int) -> None:
    """So many single steps, from where the game stands; it is paused, so that a slow machine takes no more of them."""
    page.wait_for_selector("body.paused")
    for _ in range(count):
        before = step_of(page)
        page.keyboard.press(".")
        page.wait_for_function("step => Number(document.body.dataset.step) !== step", arg=before)


def settled(page: Page) -> int:
    """The step of a paused game once no more frames arrive."""
    page.wait_for_selector("body.paused")
    step, since = None, time.monotonic()
    while time.monotonic() < since + 1:
        page.wait_for_function("() => document.body.dataset.step === document.body.dataset.stands")
        page.wait_for_timeout(50)
        if step_of(page) != step:
            step, since = step_of(page), time.monotonic()
    return step_of(page)


def shown(page: Page) -> list[str]:
    return page.locator(".screen:visible").evaluate_all("screens => screens.map(s => s.dataset.name)")


def pixels(page: Page, selector: str) -> list[int]:
    return page.locator(selector).evaluate("c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]")


def move(page: Page, selector: str, value: int) -> None:
    """Move a slider as a hand would: the value, and the two events that come with it."""
    page.locator(selector).evaluate(
        "(e, v) => { e.value = v; e.dispatchEvent(new Event('input')); e.dispatchEvent(new Event('change')); }", value
    )


def touch(page: Page, kind: str, at: str, on: str) -> None:
    """A finger goes down or up in the middle of one element; another one listens."""
    page.evaluate(
        """([kind, at, on]) => {
            const box = document.querySelector(at).getBoundingClientRect();
            const where = { clientX: box.left + box.width / 2, clientY: box.top + box.height / 2 };
            const pad = document.querySelector(on);
            pad.setPointerCapture = () => {};
            pad.dispatchEvent(new PointerEvent(kind, { ...where, pointerId: 7, pointerType: "touch", bubbles: true }));
        }""",
        [kind, at, on],
    )
