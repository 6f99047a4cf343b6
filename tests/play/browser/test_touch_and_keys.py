"""Thumbs on a phone, and keys that make one action together."""

from pathlib import Path

import pytest
from pages import PHONE, open_page, settled, touch
from playwright.sync_api import Browser, Page, expect
from serving import Served, serving
from tiny_run import SHOOTER, make_shooter_run


def test_on_a_phone_thumbs_play(browser: Browser, served: Served) -> None:
    context = browser.new_context(viewport=PHONE, has_touch=True, is_mobile=True, device_scale_factor=3)
    page = open_page(context.new_page(), served)
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= PHONE["width"], "the page is wider than the phone"
    for selector in ("[data-name=dream] canvas", "#pad", "#buttons", ".transport", "#player", "#world"):
        box = page.locator(selector).bounding_box()
        assert box and box["x"] >= 0 and box["x"] + box["width"] <= PHONE["width"], selector
        assert box["y"] >= 0 and box["y"] + box["height"] <= PHONE["height"], selector
    key = page.locator(".key[data-key=LEFT]").bounding_box()
    assert key and min(key["width"], key["height"]) >= 44
    touch(page, "pointerdown", ".key[data-key=LEFT]", "#pad")
    page.wait_for_selector(".key[data-key=LEFT].down.taken")
    touch(page, "pointerup", ".key[data-key=LEFT]", "#pad")
    expect(page.locator(".key[data-key=LEFT].down")).to_have_count(0)
    page.tap("#pause")
    settled(page)
    page.tap(".key[data-key=FIRE]")
    page.tap("#single")
    page.wait_for_selector(".key[data-key=FIRE].taken")
    page.tap("#panel-button")
    expect(page.locator("#controls")).to_be_visible()
    page.tap("#panel-close")
    expect(page.locator("#panel")).to_be_hidden()
    assert not page.problems  # type: ignore[attr-defined]
    context.close()


@pytest.mark.thorough
def test_keys_that_are_held_together_make_one_action(page: Page) -> None:
    """The mapping from keys to actions, on the action sets of other games."""
    nearest = page.evaluate(
        """async () => {
            const { Actions } = await import("/static/actions.js");
            const all = new Actions(["NOOP", "FIRE", "UP", "RIGHT", "LEFT", "DOWN", "UPRIGHT", "UPLEFT", "DOWNRIGHT",
                "DOWNLEFT", "UPFIRE", "RIGHTFIRE", "LEFTFIRE", "DOWNFIRE", "UPRIGHTFIRE", "UPLEFTFIRE",
                "DOWNRIGHTFIRE", "DOWNLEFTFIRE"]);
            const few = new Actions(["NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE"]);
            const other = new Actions(["turn left", "turn right", "thrust"]);
            const of = (actions, ...held) => actions.names[actions.nearest(held)];
            return [
                of(all, "UP", "RIGHT", "FIRE"), of(all, "FIRE", "UP", "LEFT"), of(all), of(all, "DOWN"),
                of(all, "LEFT", "RIGHT"), of(all, "RIGHT", "LEFT"),
                of(few, "FIRE", "LEFT"), of(few, "LEFT", "FIRE"), of(few, "RIGHT", "FIRE"), of(few, "UP"),
                of(other, "thrust"), of(other, "thrust", "turn left"), other.keyFor("Digit3"), other.keyFor("Space"),
                all.keyFor("KeyD"), few.keyFor("ArrowUp"), all.keys.length, few.keys.length, other.keys.length,
            ];
        }"""
    )
    assert nearest == [
        *("UPRIGHTFIRE", "UPLEFTFIRE", "NOOP", "DOWN"),
        *("RIGHT", "LEFT"),
        *("LEFT", "FIRE", "RIGHTFIRE", "NOOP"),
        *("thrust", "turn left", "thrust", None),
        *("RIGHT", None, 5, 3, 3),
    ]


@pytest.mark.thorough
def test_any_set_of_keys_makes_a_vector(page: Page) -> None:
    """Keys by their own names, and values of a choice by the keys that the game names."""
    found = page.evaluate(
        """async (info) => {
            const { actionsOf } = await import("/static/actions.js");
            const actions = actionsOf(info);
            return [
                actions.nearest([]), actions.nearest(["w", "space"]), actions.nearest(["mouse x 4", "s", "mouse x -4"]),
                ["KeyW", "KeyS", "Space", "ArrowLeft", "ArrowRight", "ArrowUp"].map((code) => actions.keyFor(code)),
                actions.keys, actions.keysOf([0, 1, 0, 0, 1, 0]), actions.isIdle([0, 0, 0, 0, 1, 0]),
            ];
        }""",
        {
            "actions": SHOOTER.actions.to_json(),
            "action_names": SHOOTER.actions.names,
            "idle": SHOOTER.actions.idle.tolist(),  # type: ignore[union-attr]
            "keys": SHOOTER.keys,
        },
    )
    assert found == [
        *([0, 0, 0, 0, 1, 0], [1, 0, 1, 0, 1, 0], [0, 1, 0, 1, 0, 0]),
        ["w", "s", "space", "mouse x -4", "mouse x 4", None],
        ["w", "s", "space", "mouse x -4", "mouse x 4"],
        *(["s"], True),
    ]


def test_a_game_of_keys_is_played_with_them(browser: Browser, tmp_path: Path) -> None:
    with serving(make_shooter_run(tmp_path / "run")) as served:
        page = open_page(browser.new_page(), served)
        page.keyboard.down("w")
        page.keyboard.down("ArrowRight")
        page.wait_for_selector(".key.down.taken[data-key=w]")
        page.wait_for_selector(".key.down.taken[data-key='mouse x 4']")
        page.keyboard.up("w")
        expect(page.locator(".key.taken[data-key=w]")).to_have_count(0)
        page.wait_for_selector(".key.down.taken[data-key='mouse x 4']")
        page.keyboard.press("i")
        expect(page.locator("#policy-bars .bar")).to_have_count(6)
        page.click("#tab-data")
        page.locator(".episode").first.click()
        page.wait_for_selector("#viewer[data-step='0']")
        page.locator("#viewer-step").evaluate("e => { e.value = 1; e.dispatchEvent(new Event('input')); }")
        expect(page.locator("#viewer-caption")).to_contain_text("mouse x")
        assert not page.problems  # type: ignore[attr-defined]
        page.close()
