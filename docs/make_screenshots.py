"""The pictures of `diffworld play`: python docs/make_screenshots.py RUN (or --demo breakout), with Chromium installed.

Starts the server, drives the page as a visitor would, and writes docs/images/play-*.png; of a game with a mouse
play-shooter.png alone.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

IMAGES = Path(__file__).parent / "images"
START = "import sys; from diffworld.commands.play import main; sys.exit(main(sys.argv[1:]))"
LARGEST = 300_000  # bytes


def main(what: list[str]) -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("install Chromium first, on Debian and Ubuntu with: apt-get install chromium")
    with tempfile.TemporaryDirectory() as recordings:
        command = [sys.executable, "-c", START, *what, "--port", "0", "--no-browser", "--recordings", recordings]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                address = re.search(r"http://\S+", server.stdout.readline())
                if address is None:
                    sys.exit("the server did not start")
                with sync_playwright() as playwright:
                    browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
                    page = opened(browser.new_page(viewport={"width": 1280, "height": 800}), address[0])
                    if page.locator("h2.of-mouse").evaluate("heading => getComputedStyle(heading).display") == "none":
                        page.close()
                        take_all(browser, address[0])
                    else:
                        take_shooter(page)
                    browser.close()
            finally:
                server.terminate()


def take_shooter(page: Page) -> None:
    page.keyboard.press("r")  # from the beginning of a game, where something comes on
    reach(page, 14)
    page.keyboard.down("Space")
    page.wait_for_timeout(250)
    save(page, "shooter")
    page.keyboard.up("Space")
    page.close()


def take_all(browser: Browser, address: str) -> None:
    page = opened(browser.new_page(viewport={"width": 1280, "height": 800}), address)
    reach(page, 12)  # the agent plays, and a key takes over
    key = page.locator(".key").first.get_attribute("data-key")
    page.keyboard.down("ArrowUp" if key == "UP" else "ArrowRight")
    page.wait_for_selector(".key.down.taken")
    page.wait_for_timeout(300)
    save(page, "desktop")
    page.keyboard.up("ArrowUp")
    page.keyboard.up("ArrowRight")
    page.keyboard.press("g")
    page.click("#world .of-both")
    page.wait_for_selector(".screen.of-difference:visible")
    reach(page, 15)
    save(page, "side-by-side")
    page.click("#world .of-dream")
    page.keyboard.press("i")
    page.wait_for_selector("#trajectory canvas")
    page.locator("#tab-inside").click()
    page.keyboard.press("r")
    page.wait_for_timeout(2000)
    save(page, "inside")
    page.click("#tab-controls")
    page.wait_for_timeout(300)
    save(page, "controls")
    page.keyboard.press("r")
    page.keyboard.press("c")
    page.wait_for_timeout(6000)
    page.keyboard.press("c")
    page.click("#tab-data")
    page.wait_for_selector(".episode")
    page.locator(".dataset").first.click()  # what was just recorded
    page.wait_for_timeout(800)
    page.wait_for_selector("#toast:not(.shown)")
    save(page, "data")
    page.locator(".episode").first.click()
    page.wait_for_selector("#viewer[data-step]")
    move(page, "#viewer-step", 20)
    page.wait_for_timeout(800)
    save(page, "episode")
    page.close()
    phone = browser.new_context(
        viewport={"width": 390, "height": 780}, has_touch=True, is_mobile=True, device_scale_factor=2
    )
    page = opened(phone.new_page(), address)
    reach(page, 12)
    page.wait_for_timeout(6500)  # until the invitation has faded
    save(page, "phone")
    phone.close()


def opened(page: Page, address: str) -> Page:
    page.add_init_script("localStorage.setItem('diffworld-met', '1')")  # no card for newcomers
    page.goto(address)
    page.wait_for_selector("#cover", state="hidden")
    return page


def reach(page: Page, step: int) -> None:
    page.wait_for_function("step => Number(document.body.dataset.step) >= step", arg=step)


def move(page: Page, slider: str, value: int) -> None:
    script = "(e, v) => { e.value = v; e.dispatchEvent(new Event('input')); e.dispatchEvent(new Event('change')); }"
    page.locator(slider).evaluate(script, value)


def save(page: Page, name: str) -> None:
    """Write the picture, with fewer colours where it would be too large."""
    path = IMAGES / f"play-{name}.png"
    page.screenshot(path=path)
    if path.stat().st_size > LARGEST:
        Image.open(path).convert("RGB").quantize(256).save(path, optimize=True)
    print(f"{path.name}: {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("give a run folder, or --demo, or --demo NAME")
    main(sys.argv[1:])
