"""The data tab: thumbnails, names, what can be deleted, films side by side."""

from pathlib import Path

import av
import pytest
from pages import pixels, settled, step_of, wait_for_step
from playwright.sync_api import Page, expect
from serving import Served, wait_for


@pytest.fixture
def recorded(page: Page, run_folder: Path) -> Page:
    """Dream and real game recorded side by side; the panel shows them."""
    page.click("#world .of-both")
    page.wait_for_function("() => document.querySelectorAll('.screen:not([hidden])').length === 3")
    page.keyboard.press("c")
    expect(page.locator("#badge")).to_have_text("recording")
    wait_for_step(page, step_of(page) + 8)
    page.keyboard.press("p")
    settled(page)
    page.keyboard.press("c")
    expect(page.locator("#toast")).to_contain_text("under Data")
    page.click("#panel-button")
    page.click("#tab-data")
    expect(page.locator(".episode").first).to_be_visible()
    return page


def recordings(run: Path) -> set[str]:
    return {each.name for each in (run / "recordings").iterdir()}


def test_episodes_have_pictures(recorded: Page) -> None:
    recorded.locator(".dataset", has_text="Replay").click()
    expect(recorded.locator(".episode .picture").first).to_be_visible()
    recorded.wait_for_function("() => document.querySelector('.episode .picture').width === 16")
    assert len(set(pixels(recorded, ".episode:first-child .picture"))) > 2


@pytest.mark.thorough
def test_a_recording_is_renamed(recorded: Page) -> None:
    recorded.locator(".dataset", has_text="Dream").first.click()
    recorded.click("#rename")
    recorded.keyboard.press("Escape")  # one may think better of it
    expect(recorded.locator("#question")).to_be_hidden()
    recorded.click("#rename")
    recorded.locator("#question-answer").fill("  ")
    recorded.click("#question-yes")
    expect(recorded.locator(".dataset", has_text="Dream").first).to_be_visible()
    recorded.click("#rename")
    recorded.keyboard.type("Left hook <b>")  # the old name is selected
    recorded.keyboard.press("Enter")
    expect(recorded.locator(".dataset", has_text="Left hook <b>")).to_have_attribute("aria-pressed", "true")


def test_a_recording_is_deleted_only_after_a_question(recorded: Page, run_folder: Path) -> None:
    before = recordings(run_folder)
    count = recorded.locator(".dataset").count()
    recorded.locator(".dataset", has_text="Dream").first.click()
    recorded.click("#delete")
    expect(recorded.locator("#question-title")).to_contain_text("Delete “Dream")
    expect(recorded.locator("#question-no")).to_be_focused()
    recorded.keyboard.press("Enter")  # the focus is on the safe side
    expect(recorded.locator("#question")).to_be_hidden()
    assert recordings(run_folder) == before
    recorded.click("#delete")
    recorded.click("#question-yes")
    expect(recorded.locator("#toast")).to_contain_text("deleted")
    expect(recorded.locator(".dataset")).to_have_count(count - 1)
    assert len(before - recordings(run_folder)) == 1


@pytest.mark.thorough
def test_what_belongs_to_the_run_is_not_touched(recorded: Page) -> None:
    recorded.locator(".dataset", has_text="Replay").click()
    expect(recorded.locator(".episode").first).to_be_visible()
    expect(recorded.locator("#edit")).to_be_hidden()
    recorded.locator(".dataset", has_text="Real game").first.click()
    expect(recorded.locator("#edit")).to_be_visible()


@pytest.mark.thorough
def test_an_episode_is_filmed_beside_the_real_game(recorded: Page, tmp_path: Path) -> None:
    recorded.locator(".dataset", has_text="Dream").first.click()
    recorded.locator(".episode").first.click()
    expect(recorded.locator("#beside-label")).to_have_text("Film it side by side with the real game")
    widths = []
    for beside in (False, True):
        recorded.locator("#beside").set_checked(beside)
        with recorded.expect_download() as download:
            recorded.click("#export-mp4")
        assert ("side-by-side" in download.value.suggested_filename) == beside
        download.value.save_as(tmp_path / f"{beside}.mp4")
        with av.open(str(tmp_path / f"{beside}.mp4")) as film:
            widths.append(film.streams.video[0].width)
    assert widths[1] > 2 * widths[0]
    recorded.click("#viewer-back")
    recorded.locator(".dataset", has_text="Replay").click()
    recorded.locator(".episode").first.click()
    expect(recorded.locator("#viewer")).to_have_attribute("data-step", "0")
    expect(recorded.locator("#beside-label")).to_be_hidden()


@pytest.mark.thorough
def test_controls_of_an_episode_do_nothing_where_none_is_open(page: Page, served: Served) -> None:
    page.evaluate(
        """() => {
            document.querySelector("#viewer-step").dispatchEvent(new Event("input"));
            for (const id of ["viewer-play", "viewer-watch", "export-mp4", "export-gif"]) {
                document.getElementById(id).click();
            }
        }"""
    )
    wait_for_step(page, step_of(page) + 2)
    assert page.get_attribute("body", "data-player") != "recording"
    wait_for(lambda: served.state.queue.playing == 1)
