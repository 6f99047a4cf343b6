"""The game's keys can be changed in the page, and this browser keeps them."""

from pages import open_page, step_of, wait_for_step
from playwright.sync_api import Page, expect
from serving import Served


def choose(page: Page, action: str, key: str) -> None:
    page.click(f'#keymap-list [data-action="{action}"]')
    expect(page.locator("#keymap-say")).to_contain_text("Press the key for")
    page.keyboard.press(key)


def test_keys_are_changed_kept_and_put_back(page: Page, served: Served) -> None:
    page.keyboard.press("?")
    page.click("#keymap-button")
    expect(page.locator("#keymap")).to_be_visible()
    choose(page, "RIGHT", "k")
    expect(page.locator('#keymap-list [data-action="RIGHT"]')).to_have_text("K")
    choose(page, "LEFT", "k")  # a key has one meaning
    expect(page.locator('#keymap-list [data-action="LEFT"]')).to_have_text("K")
    expect(page.locator('#keymap-list [data-action="RIGHT"]')).to_have_text("…")
    choose(page, "RIGHT", "p")  # also one of the page's own
    page.keyboard.press("Escape")
    expect(page.locator("#keymap")).to_be_hidden()

    page.keyboard.down("k")
    expect(page.locator(".key.down[data-key=LEFT]")).to_be_visible()
    page.keyboard.up("k")
    page.keyboard.down("p")
    expect(page.locator(".key.down[data-key=RIGHT]")).to_be_visible()
    page.keyboard.up("p")
    expect(page.locator("body")).not_to_have_class("paused")
    page.keyboard.down("ArrowLeft")  # what the page knows by itself still does
    expect(page.locator(".key.down[data-key=LEFT]")).to_be_visible()
    page.keyboard.up("ArrowLeft")

    again = open_page(page.context.new_page(), served)
    again.keyboard.down("k")
    expect(again.locator(".key.down[data-key=LEFT]")).to_be_visible()
    again.keyboard.up("k")
    again.keyboard.press("?")
    again.click("#keymap-button")
    again.click("#keymap-reset")
    again.keyboard.press("Escape")
    again.keyboard.down("k")
    wait_for_step(again, step_of(again) + 2)
    expect(again.locator(".key.down")).to_have_count(0)
    again.keyboard.up("k")
    again.close()
