"""Only messages that the page sends are let in, and what goes out arrives unchanged."""

import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from diffworld.play import protocol
from diffworld.play.protocol import MAX_MESSAGE_BYTES, ProtocolError, pack, read_message, unpack

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
TYPES = (
    "act shown pause pace step reset rewind record watch set starts datasets episodes table frame export rename delete"
).split()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"type":"act","action":3}', protocol.Act(type="act", action=3)),
        ('{"type":"act","action":[0,1,0]}', protocol.Act(type="act", action=[0, 1, 0])),
        ('{"type":"reset"}', protocol.Reset(type="reset")),
        ('{"type":"reset","start":7}', protocol.Reset(type="reset", start=7)),
        ('{"type":"rewind","steps":2}', protocol.Rewind(type="rewind", steps=2)),
        ('{"type":"set","churn":2}', protocol.Set(type="set", churn=2.0)),
        (
            '{"type":"export","id":1,"dataset":"replay","episode":0,"kind":"gif","fps":15}',
            protocol.Export(type="export", id=1, dataset="replay", episode=0, kind="gif", fps=15),
        ),
        (
            '{"type":"rename","id":1,"dataset":"a","title":"Größer \\ud83e\\udd4a"}',
            protocol.Rename(type="rename", id=1, dataset="a", title="Größer 🥊"),
        ),
        ('{"type":"delete","id":1,"dataset":"a"}', protocol.Delete(type="delete", id=1, dataset="a")),
    ],
)
def test_messages_of_the_page_are_read(text: str, expected: protocol.Message) -> None:
    assert read_message(text) == expected


def test_only_given_settings_change() -> None:
    message = read_message('{"type":"set","world":"both","inside":false}')
    assert isinstance(message, protocol.Set)
    assert message.changes() == {"world": "both", "inside": False}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        "3",
        '"act"',
        "{}",
        '{"type":"quit"}',
        '{"type":["act"],"action":1}',
        '{"type":"act"}',
        '{"type":"act","action":-1}',
        '{"type":"act","action":1.5}',
        '{"type":"act","action":"1"}',
        '{"type":"act","action":true}',
        '{"type":"act","action":1,"more":1}',
        '{"type":"act","action":[0,2]}',
        '{"type":"act","action":[0,true]}',
        '{"type":"act","action":[[0]]}',
        json.dumps({"type": "act", "action": [0] * 1001}, separators=(",", ":")),
        '{"type":"act","action":99999999999999999999999999}',
        '{"type":"set","churn":1e999}',
        '{"type":"set","churn":NaN}',
        '{"type":"set","denoising_steps":11}',
        '{"type":"set","denoising_steps":0}',
        '{"type":"set","order":3}',
        '{"type":"set","horizon":100001}',
        '{"type":"set","world":"mars"}',
        '{"type":"pace","fps":0}',
        '{"type":"pace","fps":61}',
        '{"type":"pause","on":1}',
        '{"type":"starts","id":1,"offset":0,"count":101}',
        '{"type":"starts","id":1,"offset":-1,"count":5}',
        '{"type":"frame","id":1,"dataset":"../../etc/passwd","episode":0,"step":0}',
        '{"type":"frame","id":1,"dataset":"a/b","episode":0,"step":0}',
        '{"type":"frame","id":1,"dataset":"a\\u0000","episode":0,"step":0}',
        '{"type":"table","id":1,"dataset":"","episode":0}',
        '{"type":"export","id":1,"dataset":"replay","episode":0,"kind":"exe","fps":15}',
        '{"type":"export","id":1,"dataset":"replay","episode":0,"kind":"gif","fps":15,"beside":"real"}',
        '{"type":"rename","id":1,"dataset":"a","title":""}',
        '{"type":"rename","id":1,"dataset":"a","title":"two\\nlines"}',
        '{"type":"rename","id":1,"dataset":"a","title":"right to left \\u202e"}',
        json.dumps({"type": "rename", "id": 1, "dataset": "a", "title": "x" * 81}),
        '{"type":"rename","id":1,"dataset":"../a","title":"x"}',
        '{"type":"delete","id":1,"dataset":"../replay"}',
        '{"type":"delete","id":1,"dataset":"a","episode":0}',
        '{"type":"shown","number":1}' + " " * MAX_MESSAGE_BYTES,
        "[" * 1500,
        '{"a":' * 300 + "1" + "}" * 300,
    ],
)
def test_anything_else_is_refused_in_our_own_words(text: str) -> None:
    with pytest.raises(ProtocolError) as refused:
        read_message(text)
    assert "\n" not in str(refused.value) and "passwd" not in str(refused.value) and len(str(refused.value)) < 60


@given(st.text(max_size=200) | st.binary(max_size=200))
def test_no_text_does_more_than_be_refused(text: str | bytes) -> None:
    with pytest.raises(ProtocolError):
        read_message(text)


@given(st.sampled_from(TYPES), st.dictionaries(st.sampled_from("id action on fps steps start episode".split()), JSON))
def test_fields_of_any_kind_are_read_as_declared_or_refused(name: str, fields: dict[str, object]) -> None:
    try:
        message = read_message(json.dumps({"type": name, **fields}))
    except ProtocolError:
        return
    assert message.type == name
    for field, value in fields.items():
        assert getattr(message, field) == value and type(getattr(message, field)) is type(value)


@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
def test_frames_arrive_as_they_were(frame: np.ndarray) -> None:
    header, images = unpack(pack({"type": "view", "step": 4}, {"dream": frame, "real": None}))
    assert (header["type"], header["step"]) == ("view", 4)
    assert [name for name, _ in header["images"]] == list(images) == ["dream"]
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(images["dream"]))), frame)


def test_a_frame_of_a_game_is_sent_small() -> None:
    frame = np.zeros((64, 64, 3), np.uint8)
    frame[10:20, 5:50] = (200, 72, 72)
    assert len(protocol.encode_image(frame)) < 300
