"""The server as anyone on the network meets it: its pages, and what it does with those who mean no good."""

import contextlib
import json
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from serving import LIMIT, Client, Served, get, open_socket, serving, wait_for
from websockets.exceptions import ConnectionClosed, InvalidStatus

from diffworld.play.guard import COOKIE
from diffworld.play.patience import PatientHTTP, PatientWebSocket
from diffworld.play.server import Address, listen
from diffworld.runtime.errors import UserError

pytestmark = pytest.mark.usefixtures("no_traceback")

# Pages


def test_the_page_and_its_parts_are_served_with_care(served: Served) -> None:
    page = get(served.origin)
    assert page.status_code == 200 and "text/html" in page.headers["content-type"]
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"
    for name in ("app.js", "link.js", "base.css", "small.css", "icon.svg"):
        part = get(f"{served.origin}/static/{name}")
        assert part.status_code == 200 and len(part.content) > 100


@pytest.mark.parametrize(
    "path",
    [
        "/static/../server.py",
        "/static/..%2fserver.py",
        "/static/%2e%2e/%2e%2e/config.py",
        "/static//etc/passwd",
        "/static/%2fetc%2fpasswd",
        "/static/..\\..\\server.py",
        "/static/app.js%00.html",
        "/films/../../etc/passwd",
        "/films/%2fetc%2fpasswd",
        "/films/x",
        "/docs",
        "/openapi.json",
        "/config.json",
        "//etc/passwd",
    ],
)
def test_a_path_reaches_no_file(served: Served, path: str) -> None:
    with socket.create_connection(("127.0.0.1", served.address.port), timeout=LIMIT) as raw:  # sent as it is written
        raw.sendall(f"GET {path} HTTP/1.1\r\nHost: {served.host}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    assert answer.split(b" ")[1] == b"404"
    assert b"root:" not in answer and b"import" not in answer


def test_only_this_machine_s_names_are_answered(served: Served) -> None:
    for host in ("evil.example", f"evil.example:{served.address.port}", "127.0.0.1.evil.example", "192.168.1.7", ""):
        assert get(served.origin, headers={"host": host}).status_code in (400, 403), host
    for host in (f"localhost:{served.address.port}", "127.0.0.1", "[::1]:80"):
        assert get(served.origin, headers={"host": host}).status_code == 200, host


@pytest.mark.parametrize("origin", [None, "http://evil.example", "null", "http://127.0.0.1:1", "file://", "http://["])
def test_a_websocket_of_another_page_is_refused(served: Served, origin: str | None) -> None:
    with pytest.raises(InvalidStatus) as refused, open_socket(served.host, origin):
        pass
    assert refused.value.response.status_code == 403


def test_a_token_is_asked_of_everyone_where_one_is_set(run_folder: Path) -> None:
    with serving(run_folder, token="right-token_1") as served:
        for path in ("/", "/static/app.js", "/?token=wrong", "/?token=", "/?token=right-token_1x", "/films/x"):
            assert get(served.origin + path).status_code == 403
        assert get(served.origin, cookies={COOKIE: "wrong"}).status_code == 403
        let_in = get(f"{served.origin}/?token=right-token_1")
        assert (let_in.status_code, let_in.headers["location"]) == (303, "/")
        assert "HttpOnly" in let_in.headers["set-cookie"] and "SameSite" in let_in.headers["set-cookie"]
        assert get(served.origin, cookies={COOKIE: "right-token_1"}).status_code == 200
        for cookie in ("", f"{COOKIE}=wrong", f'{COOKIE}="', "\xff"):
            wrong = {"Cookie": cookie}
            with pytest.raises(InvalidStatus), open_socket(served.host, served.origin, additional_headers=wrong):
                pass
        header = {"Cookie": f"{COOKIE}=right-token_1"}
        with open_socket(served.host, served.origin, additional_headers=header) as player:
            assert json.loads(player.recv(LIMIT))["type"] == "welcome"


def test_other_machines_need_a_token_and_the_port_must_be_free() -> None:
    listener, address = listen("127.0.0.1", 0)
    with listener:
        assert address.token is None and address.url == f"http://127.0.0.1:{address.port}/"
        with pytest.raises(UserError, match=r"^cannot listen on 127\.0\.0\.1 port \d+ \(.*choose another --port"):
            listen("127.0.0.1", address.port)
    first, open_to_all = listen("0.0.0.0", 0)
    second, again = listen("0.0.0.0", 0)
    first.close()
    second.close()
    assert open_to_all.token and again.token and open_to_all.token != again.token and len(open_to_all.token) >= 24
    assert open_to_all.url.endswith(f"/?token={open_to_all.token}") and "0.0.0.0" not in open_to_all.url
    assert Address("::", 80, "t").url.endswith(":80/?token=t")
    for host, port in (("no.such.host.invalid", 0), ("127.0.0.1", 70000)):
        with pytest.raises(UserError, match=r"^[^\n]+$"):
            listen(host, port)


# Those who mean no good


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("x" * 5000, 1009),
        (b"\x00" * 100, 1008),
        ("{", 1008),
        ('{"type":"act","action":4000}', 1008),
        ('{"type":"frame","id":1,"dataset":"../replay","episode":0,"step":0}', 1008),
        ("[" * 2000, 1008),
    ],
    ids=["too long", "binary", "broken", "no such action", "a path", "deep"],
)
def test_a_message_out_of_order_ends_the_connection(served: Served, message: str | bytes, code: int) -> None:
    with Client(served) as player:
        player.until("view")
        player.socket.send(message)
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                player.next()
        assert closed.value.rcvd is not None and closed.value.rcvd.code == code
    with Client(served) as another:
        another.until("view")


def test_a_client_that_talks_too_fast_is_shown_out(served: Served) -> None:
    with Client(served) as player:
        player.until("view")
        with pytest.raises(ConnectionClosed) as closed:
            for _ in range(20_000):
                player.say("act", action=1)
            while True:
                player.next()
        assert closed.value.rcvd is None or closed.value.rcvd.code == 1008


def test_what_is_not_there_is_said_in_one_line(served: Served) -> None:
    with Client(served) as player:
        player.until("view")
        for query in (
            {"type": "table", "dataset": "no-such", "episode": 0},
            {"type": "table", "dataset": "replay", "episode": 2**31 - 1},
            {"type": "frame", "dataset": "replay", "episode": 0, "step": 2**31 - 1},
            {"type": "frame", "dataset": "..", "episode": 0, "step": 0},
            {"type": "export", "dataset": ".", "episode": 0, "kind": "mp4", "fps": 1},
        ):
            error = player.ask(**query)[0]["error"]
            assert "\n" not in error and "/" not in error
        player.say("watch", dataset="replay", episode=2**31 - 1)
        assert player.until("error")[0]["text"]
        player.until("view")


def head(served: Served, path: str, *more: str) -> bytes:
    """A request's head, whole but for the last line end."""
    return "\r\n".join([f"GET {path} HTTP/1.1", f"Host: {served.host}", *more, ""]).encode()


UPGRADE = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("", ""),
        ("G", "G"),
        ("half", "x"),
        ("page\r\n", ""),
        ("page\r\nhalf", "x"),
        ("post", "x"),
        ("upgrade", ""),
    ],
    ids=["says nothing", "a letter at a time", "half a head", "a page and no more", "a page and half a head",
         "a body without an end", "half a websocket"],
)  # fmt: skip
def test_a_client_that_lets_the_server_wait_is_shown_out(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch, first: str, then: str
) -> None:
    monkeypatch.setattr(PatientHTTP, "patience", 0.3)
    with serving(run_folder) as served, Client(served) as player, ExitStack() as stack:
        words = {
            "half": head(served, "/", "Accept: "),
            "page": head(served, "/"),
            "post": b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: 99999\r\n\r\n" % served.host.encode(),
            "upgrade": head(served, "/play", f"Origin: {served.origin}", *UPGRADE, KEY),
        }

        def bytes_of(text: str) -> bytes:
            data = text.encode()
            for word, meaning in words.items():
                data = data.replace(word.encode(), meaning)
            return data

        waiting = [stack.enter_context(socket.create_connection(("127.0.0.1", served.address.port))) for _ in range(50)]
        for raw in waiting:
            raw.settimeout(LIMIT)
            raw.sendall(bytes_of(first))

        def gone(raw: socket.socket) -> bool:
            try:
                raw.sendall(bytes_of(then))
                raw.settimeout(0.01)
                return not raw.recv(65536)
            except TimeoutError:
                return False
            except OSError:  # what came after the end was refused
                return True

        while waiting:  # a client that gets an answer has time for another question, so each may take a while
            waiting = [raw for raw in waiting if not gone(raw)]
            player.until("view")  # whoever plays is not waited for


def test_a_client_that_does_not_read_is_shown_out(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PatientHTTP, "patience", 0.3)
    monkeypatch.setattr(PatientWebSocket, "patience", 0.3)
    with serving(run_folder) as served, ExitStack() as stack:
        where = ("127.0.0.1", served.address.port)
        asked = head(served, "/static/app.js") + b"\r\n"
        for raw in [stack.enter_context(socket.create_connection(where)) for _ in range(3)]:
            with contextlib.suppress(OSError):
                while True:  # until nothing more fits, and it is put out
                    raw.sendall(asked)
        player = stack.enter_context(Client(served))
        player.until("view")
        assert served.state.queue.playing == 1
        with contextlib.suppress(ConnectionClosed):
            for number in range(100_000):
                player.say("starts", id=number, offset=0, count=100)
                time.sleep(0.02)
        wait_for(lambda: served.state.queue.playing == 0)


def test_noise_on_the_port_disturbs_nobody(served: Served) -> None:
    upgrade = head(served, "/play", f"Origin: {served.origin}", *UPGRADE, KEY) + b"\r\n"
    with Client(served) as player:
        for noise in (
            b"\x00\xff" * 500,
            b"GET / HTTP/1.1\r\nHost: " + b"a" * 100_000,
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n",
            upgrade.replace(b"/play", b"/play?\xc3\xa9"),
            upgrade + b"\x81\xfe\xff\xff",
            upgrade + b"\xc1\x80\x00\x00\x00\x00",
            upgrade + b"\x81\x82\x00\x00\x00\x00\xff\xfe",
            upgrade + b"\x88\x81\x00\x00\x00\x00\x01",
        ):
            with socket.create_connection(("127.0.0.1", served.address.port), timeout=LIMIT) as raw:
                with contextlib.suppress(OSError):
                    raw.sendall(noise)
                time.sleep(0.05)
            player.until("view")
    wait_for(lambda: served.state.queue.playing == 0)
