"""The server as players meet it: their keys, worlds and settings, recordings, places, and a slow line."""

import io
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from serving import Client, Served, get, serving, wait_for
from tiny_run import make_run, make_shooter_run, model_free
from websockets.exceptions import ConnectionClosed

from diffworld.commands.play import PlayOptions
from diffworld.data import Dataset
from diffworld.play.connection import IN_FLIGHT

pytestmark = pytest.mark.usefixtures("no_traceback")


def picture(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_a_player_sees_the_dream_and_its_keys_count(served: Served) -> None:
    with Client(served) as player:
        info = player.until("welcome")[0]["info"]
        assert info["action_names"][0] == "NOOP" and info["worlds"] == {"dream": None, "real": None, "both": None}
        state, _ = player.until("state")
        assert (state["settings"]["player"], state["settings"]["world"], state["paused"]) == ("agent", "dream", False)
        view, images = player.until("view", lambda view: view["step"] >= 3)
        assert picture(images["dream"]).shape == (16, 16, 3) and list(images) == ["dream"]
        assert sum(view["policy"]) == pytest.approx(1, abs=1e-3) and sum(view["reward_probs"]) == pytest.approx(
            1, abs=1e-3
        )
        player.pause()
        player.say("set", player="human")
        player.say("act", action=2)
        player.say("step")
        assert (
            player.until("view", lambda view: view["player"] == "human" and view["action"] is not None)[0]["action"]
            == 2
        )
        player.say("act", action=0)
        player.say("step")
        player.until("view", lambda view: view["action"] == 0)
        player.say("act", action=3)  # tapped between two steps
        player.say("act", action=0)
        player.say("step")
        assert player.until("view")[0]["action"] == 3


def test_keys_are_held_in_any_set_and_a_tap_counts(tmp_path: Path) -> None:
    with serving(make_shooter_run(tmp_path / "run")) as served, Client(served) as player:
        assert player.until("welcome")[0]["info"]["idle"] == [0, 0, 0, 0, 1, 0]
        assert player.until("state")[0]["fps"] == 20  # as the recording says
        player.pause()
        for action in ([1, 0, 0, 1, 0, 0], [1, 0, 1, 0, 1, 0], [0, 0, 1, 0, 1, 0]):
            player.say("act", action=action)
        player.say("step")
        moved, _ = player.until("view", lambda view: view["action"] not in (None, [0, 0, 0, 0, 1, 0]))
        assert moved["action"] == [1, 0, 1, 1, 0, 0]
        player.say("step")
        assert player.until("view")[0]["action"] == [0, 0, 1, 0, 1, 0]
        episode = player.ask("table", dataset="data", episode=0)[0]["table"]
        assert len(episode["actions"][0]) == len(episode["action_names"]) == 6
        player.say("act", action=[0, 0, 1, 1, 1, 0])
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                player.next()
        assert closed.value.rcvd is not None and closed.value.rcvd.reason == "there is no such action"


def test_worlds_settings_and_the_inside(served: Served) -> None:
    with Client(served) as player:
        player.until("welcome")
        player.say("set", world="both")
        view, images = player.until("view", lambda view: len(view["images"]) == 3 and view["step"] > 2)
        apart = picture(images["real"]).astype(int) - picture(images["dream"])
        np.testing.assert_array_equal(picture(images["difference"]), np.clip(128 + 4 * apart, 0, 255))
        assert view["real_score"] is not None
        player.say("set", denoising_steps=5, inside=True, order=1)
        player.until("state", lambda state: state["settings"]["denoising_steps"] == 5)
        _, images = player.until(
            "view", lambda view: any(n == "trajectory" for n, _ in view["images"]) and view["step"] > 4
        )
        assert picture(images["trajectory"]).shape == (16, 16 * 6, 3)
        assert picture(images["context"]).shape == (16, 16 * 4, 3)
        np.testing.assert_array_equal(picture(images["trajectory"])[:, -16:], picture(images["dream"]))
        player.say("set", inside=False)
        player.until("view", lambda view: [n for n, _ in view["images"]] == ["dream", "real", "difference"])


def test_rewind_takes_back_and_starts_can_be_chosen(served: Served) -> None:
    with Client(served) as player:
        player.until("welcome")
        player.say("pace", fps=60)
        player.until("view", lambda view: view["step"] >= 12)
        player.pause()
        player.say("step")
        now, _ = player.until("view")
        player.say("rewind", steps=5)
        back, _ = player.until("view", lambda view: view["number"] > now["number"])
        while back["step"] > now["step"]:  # frames that were still on their way
            back, _ = player.until("view")
        assert back["kept"] < now["step"] + 1
        reply, images = player.ask("starts", offset=2, count=6)
        assert [start["id"] for start in reply["starts"]] == [2, 3, 4, 5, 6, 7] and reply["total"] >= 8
        assert list(images) == [str(start["id"]) for start in reply["starts"]]
        player.say("set", world="real")
        player.say("reset", start=reply["starts"][4]["id"])
        _, frames = player.until("view", lambda view: view["step"] == 0 and view["images"][0][0] == "dream")
        np.testing.assert_array_equal(picture(frames["dream"]), picture(images[str(reply["starts"][4]["id"])]))
        player.say("reset", start=2**31 - 1)
        assert player.until("error")[0]["text"]


def test_what_is_recorded_can_be_browsed_watched_and_exported(served: Served, run_folder: Path) -> None:
    with Client(served) as player:
        player.until("view")
        player.pause()
        player.say("set", player="random", world="dream")
        player.say("reset")
        player.say("record", on=True)
        player.until("state", lambda state: state["recording"])
        seen = []
        for _ in range(6):
            player.say("step")
            view, images = player.until("view", lambda view: view["action"] is not None)
            seen.append((view["action"], picture(images["dream"])))
        player.say("record", on=False)
        player.until("state", lambda state: not state["recording"])
        newest = player.ask("datasets")[0]["datasets"][0]
        assert newest["kind"] == "recordings" and newest["steps"] == 6
        episode = player.ask("episodes", dataset=newest["id"], offset=0, count=10)[0]["episodes"][0]
        where = {"dataset": newest["id"], "episode": episode["id"]}
        table = player.ask("table", **where)[0]["table"]
        assert table["actions"] == [action for action, _ in seen]
        _, images = player.ask("frame", step=3, **where)
        np.testing.assert_array_equal(picture(images["frame"]), seen[2][1])
        for kind, head in (("mp4", b"ftyp"), ("gif", b"GIF8")):
            reply, _ = player.ask("export", kind=kind, fps=10, **where)
            film = get(f"{served.origin}/films/{reply['film']}")
            assert film.status_code == 200 and head in film.content[:12]
            assert "attachment" in film.headers["content-disposition"]
        player.say("watch", **where)
        player.say("step")
        watched, _ = player.until("view", lambda view: view["player"] == "recording" and view["action"] is not None)
        assert watched["action"] == seen[0][0]
    with Dataset.open(next((run_folder / "recordings").iterdir())) as dataset:  # fit to train on
        assert dataset.num_steps == 6


def test_both_worlds_are_recorded_filmed_named_and_deleted(tmp_path: Path) -> None:
    with serving(make_run(tmp_path / "run")) as served, Client(served) as player:
        info = player.until("welcome")[0]["info"]
        assert info["command"] == "diffworld play"
        assert info["defaults"] == {
            **{"rules": "test", "horizon": 1000, "denoising_steps": 2, "order": 1, "churn": 0.0, "temperature": 1.0},
            **{"upsampling_steps": 1, "upsampling_order": 1, "upsampling_churn": 0.0},
        }
        player.pause()
        player.say("set", player="random", world="both")
        player.say("record", on=True)
        player.until("state", lambda state: state["recording"])
        for _ in range(4):
            player.say("step")
        player.until("view", lambda view: view["step"] == 4)
        player.say("record", on=False)
        player.until("state", lambda state: not state["recording"])
        found = {each["info"]["world"]: each for each in player.ask("datasets")[0]["datasets"] if each["editable"]}
        where = {"dataset": found["dream"]["id"], "episode": 0}
        episodes, pictures = player.ask("episodes", dataset=where["dataset"], offset=0, count=10)
        assert [picture(pictures[str(each["id"])]).shape for each in episodes["episodes"]] == [(16, 16, 3)]
        assert player.ask("table", **where)[0]["table"]["beside"] == "real"
        film, _ = player.ask("export", kind="gif", fps=10, beside=True, **where)
        with Image.open(io.BytesIO(get(f"{served.origin}/films/{film['film']}").content)) as image:
            assert image.width > 2 * 256 and image.n_frames == 5  # type: ignore[attr-defined]
        player.ask("rename", dataset=where["dataset"], title="A name")
        titles = [each["info"].get("title") for each in player.ask("datasets")[0]["datasets"]]
        assert titles.count("A name") == 1
        assert "no recording" in player.ask("delete", dataset="replay")[0]["error"]
        player.ask("delete", dataset=where["dataset"])
        assert [each["info"].get("world") for each in player.ask("datasets")[0]["datasets"]] == ["real", None]
        assert player.ask("episodes", dataset=where["dataset"], offset=0, count=1)[0]["error"]


def test_a_slow_client_gets_the_newest_frame_and_no_backlog(served: Served) -> None:
    with Client(served, shows=False) as player:
        numbers: list[int] = []

        def command(type: str, **fields: bool) -> None:
            """Done once the state comes; notes the frames that come before."""
            player.say(type, **fields)
            while (header := player.next()[0])["type"] != "state":
                numbers.append(header["number"])

        player.until("state")
        command("pause", on=True)
        while len(numbers) < IN_FLIGHT:
            command("step")
        for _ in range(5 * IN_FLIGHT):
            command("step")
        assert numbers == [1, 2, 3, 4]
        player.say("shown", number=numbers[-1])
        newest, _ = player.until("view")
        assert newest["number"] == IN_FLIGHT + 1
        assert newest["step"] >= 5 * IN_FLIGHT, "the frames in between were not dropped"
        player.say("step")
        assert player.until("view")[0]["step"] == newest["step"] + 1, "it was not the newest"


def test_two_players_have_games_of_their_own(served: Served) -> None:
    with Client(served) as one, Client(served) as two:
        one.until("welcome")
        one.say("set", world="real", player="random")
        one.until("view", lambda view: view["images"][0][0] == "real" and view["step"] > 2)
        view, _ = two.until("view", lambda view: view["step"] > 2)
        assert view["images"][0][0] == "dream" and view["player"] == "agent"
        one.pause()
        before, _ = two.until("view")
        two.until("view", lambda view: view["number"] > before["number"] + 5)
    wait_for(lambda: served.state.queue.playing == 0)


def test_one_too_many_waits_until_a_place_is_free(run_folder: Path) -> None:
    with serving(run_folder, max_players=2) as served:
        first, second = Client(served), Client(served)
        first.until("view")
        second.until("view")
        with Client(served) as third, Client(served) as fourth:
            assert third.next()[0] == {"type": "waiting", "place": 1, "players": 2}
            assert fourth.next()[0] == {"type": "waiting", "place": 2, "players": 2}
            third.say("step")  # nothing to step yet, and no harm
            first.leave()
            third.until("view")
            assert fourth.next()[0]["place"] == 1
            second.socket.socket.close()  # gone without a word
            fourth.until("view")
        wait_for(lambda: served.state.queue.playing == 0)


def test_eight_play_unless_told_otherwise_and_the_ninth_waits(run_folder: Path) -> None:
    with serving(run_folder, PlayOptions().max_players) as served, ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(Client(served)).until("view")
        ninth = stack.enter_context(Client(served))
        assert ninth.next()[0] == {"type": "waiting", "place": 1, "players": 8}


def test_a_run_without_a_world_model_plays_the_real_game(tmp_path: Path) -> None:
    with (
        serving(make_run(tmp_path / "run", model_free())) as served,
        Client(served) as player,
    ):
        info = player.until("welcome")[0]["info"]
        assert info["worlds"]["dream"] and not info["worlds"]["real"]
        assert player.until("view", lambda view: view["step"] > 1)[0]["images"][0][0] == "real"
        player.say("set", world="dream")
        assert "no world model" in player.until("error")[0]["text"]
        assert player.until("view")[0]["images"][0][0] == "real"
