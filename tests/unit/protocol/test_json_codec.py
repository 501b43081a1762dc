"""Bytes of the client protocol."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from hub.errors import BAD_REQUEST, INTERNAL, Disconnect, ReplyError
from hub.model import ClientInfo, Publication
from hub.protocol import json_codec as codec
from hub.protocol.commands import Command, ConnectRequest, ConnectResult, SubscribeResult
from hub.protocol.deltas import whole
from hub.protocol.wires import (
    EVENT_STREAM,
    JSON_FRAMES,
    JSON_TEXT,
    ONE_WAY_FRAMES,
    ONE_WAY_TEXT,
    PLAIN_FRAMES,
    PLAIN_TEXT,
)


def commands(frame: bytes) -> list[Command]:
    return list(codec.decode_commands(frame))


def test_a_frame_holds_commands_on_lines_of_their_own() -> None:
    found = commands(b'{"id":1,"connect":{}}\n{"id":2,"publish":{"channel":"a","data": null}}\n')
    assert [command.id for command in found] == [1, 2]
    method = found[1].method()
    assert method is not None
    assert method[0] == "publish"
    assert codec.payload(method[1].data) == b"null"  # type: ignore[union-attr]


def test_a_payload_keeps_its_bytes_and_loses_only_line_breaks() -> None:
    (command,) = commands(b'{"id":1,"publish":{"channel":"a","data":{"b":  1.50, "c":1e3}}}')
    assert codec.payload(command.publish.data) == b'{"b":  1.50, "c":1e3}'  # type: ignore[union-attr]
    (command,) = commands(b'{"id":1,\n"publish":{"channel":"a","data":{"b":\n 1.50}}}')
    assert codec.payload(command.publish.data) == b'{"b":1.50}'  # type: ignore[union-attr]


def test_of_several_methods_the_first_in_the_protocols_order_is_read() -> None:
    (command,) = commands(b'{"id":1,"rpc":{"method":"x"},"subscribe":{"channel":"a"}}')
    assert command.method() is not None
    assert command.method()[0] == "subscribe"  # type: ignore[index]


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"x",
        b"[]",
        b"1",
        b'"a"',
        b"null",
        b'{"id":"1","connect":{}}',
        b'{"id":-1,"connect":{}}',
        b'{"id":4294967296,"connect":{}}',
        b'{"id":1.5,"connect":{}}',
        b'{"id":1,"connect":[]}',
        b'{"id":1,"subscribe":{"channel":1}}',
        b'{"id":1,"subscribe":{"channel":"\\ud800"}}',
        b'{"id":1,"connect":{}}{"id":2,"connect":{}}',
        b'{"id":1,"publish":{"channel":"a","data":NaN}}',
        b'{"id":1,"publish":{"data":' + b"[" * 100_000,
        b"\xff\xfe",
        b'{"id":1,"publish":{"channel":"a","data":"\xff"}}',
    ],
)
def test_a_frame_that_is_no_command_ends_the_session(frame: bytes) -> None:
    with pytest.raises(Disconnect) as caught:
        commands(frame)
    assert caught.value.code == 3501


def test_the_commands_before_a_bad_piece_are_handled() -> None:
    found = codec.decode_commands(b'{"id":1,"connect":{}}\n\n{"id":2,"connect":{}}')
    assert next(found).id == 1
    with pytest.raises(Disconnect):
        next(found)


@given(st.binary(max_size=200))
def test_any_bytes_are_commands_or_a_disconnect(frame: bytes) -> None:
    try:
        commands(frame)
    except Disconnect as disconnect:
        assert disconnect.code == 3501  # noqa: PT017 - not every input raises


def test_zero_values_are_left_out() -> None:
    assert codec.reply(3, "publish", {}) == b'{"id":3,"publish":{}}'
    result = ConnectResult("c", "v", subs={"a": SubscribeResult(recoverable=True)})
    assert codec.reply(1, "connect", result) == (
        b'{"id":1,"connect":{"client":"c","version":"v","subs":{"a":{"recoverable":true}}}}'
    )


def test_errors_say_temporary_only_when_they_are() -> None:
    assert (
        codec.error_reply(2, ReplyError(BAD_REQUEST))
        == b'{"id":2,"error":{"code":107,"message":"bad request"}}'
    )
    assert codec.error_reply(2, ReplyError(INTERNAL)) == (
        b'{"id":2,"error":{"code":100,"message":"internal server error","temporary":true}}'
    )


PUBLICATION = Publication("news", b'{"missed": 1}', 5, "e", ClientInfo("42", "c1", b'{"a": 1}'), {"k": "v"})


def test_a_push_has_the_payload_byte_for_byte() -> None:
    assert codec.publication_push("news", PUBLICATION) == (
        b'{"push":{"channel":"news","pub":{"data":{"missed": 1},'
        b'"info":{"user":"42","client":"c1","conn_info":{"a": 1}},"offset":5,"tags":{"k":"v"}}}}'
    )


def test_the_first_publication_of_a_stream_tells_its_epoch() -> None:
    first = codec.publication_push("news", PUBLICATION.replace(offset=1))
    assert json.loads(first)["push"]["pub"]["epoch"] == "e"
    assert "epoch" not in json.loads(codec.publication_push("news", PUBLICATION))["push"]["pub"]


def test_pushes_and_lists_say_the_same_of_a_publication() -> None:
    for publication in (
        PUBLICATION,
        PUBLICATION.replace(offset=1),
        PUBLICATION.replace(offset=0, info=None, tags=None),
    ):
        pushed = json.loads(codec.publication_push("news", publication))["push"]["pub"]
        listed = json.loads(codec.encode(codec.wire_publications([publication])))[0]
        assert pushed == listed


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(), st.lists, max_leaves=8
    ),
    st.text(),
)
def test_no_push_ever_holds_a_raw_line_break(data: Any, topic: str) -> None:
    raw = codec.compact(json.dumps(data, indent=1).encode())
    push = codec.publication_push(topic.encode("utf-8", "replace").decode(), Publication("t", raw))
    assert b"\n" not in push
    assert b"\r" not in push
    assert json.loads(push)["push"]["pub"]["data"] == data


def test_joins_and_leaves_are_pushes_of_their_kind() -> None:
    join = Publication("t", b"null", info=ClientInfo("u", "c"), kind="join")
    assert (
        codec.publication_push("t", join)
        == b'{"push":{"channel":"t","join":{"info":{"user":"u","client":"c"}}}}'
    )


@pytest.mark.parametrize(
    "publication",
    [
        PUBLICATION,
        PUBLICATION.replace(offset=1),
        PUBLICATION.replace(tags=None),
        Publication("t", b'{"n":1}'),
        Publication("t", b"null", info=ClientInfo("u", "c"), kind="join"),
        Publication("t", b"null", kind="leave"),
        whole(PUBLICATION),
    ],
)
@pytest.mark.parametrize("topic", ["news", 'a "quoted" topic', "тема"])
def test_a_one_way_push_is_what_stands_in_the_wrapper(publication: Publication, topic: str) -> None:
    assert b'{"push":%b}' % codec.bare_publication(topic, publication) == codec.publication_push(
        topic, publication
    )
    for kind, body in (("unsubscribe", {"code": 2000, "reason": "x"}), ("message", {"data": 1})):
        for each in (topic, ""):
            assert b'{"push":%b}' % codec.bare_push(each, kind, body) == codec.push(each, kind, body)


def test_one_way_pushes_stand_each_in_a_frame_of_its_own() -> None:
    one = Publication("t", b"1")
    push = b'{"channel":"t","pub":{"data":1}}'
    framed = b"\x81\x20" + push
    assert ONE_WAY_TEXT.alone("t", one) == ONE_WAY_TEXT.share([push]) == (push,)
    assert ONE_WAY_TEXT.join([push, b"{}"]) == (push, b"{}")
    assert ONE_WAY_FRAMES.alone("t", one) == framed
    assert ONE_WAY_FRAMES.share([push, push]) == framed + framed


@pytest.mark.parametrize("text", [b"{}", b"null", b' {"later": 1}\n'])
def test_a_connect_request_without_a_token_is_one_all_the_same(text: bytes) -> None:
    assert codec.decode_connect(text) == ConnectRequest()


@given(st.binary(max_size=200))
def test_any_bytes_are_a_connect_request_or_a_disconnect(text: bytes) -> None:
    with suppress(Disconnect):
        assert isinstance(codec.decode_connect(text), ConnectRequest)


def test_wires_join_pieces_as_their_transports_need_them() -> None:
    one, two = Publication("t", b'"a"'), Publication("t", b'{"b":1}')
    assert JSON_TEXT.join([b"1", b"2"]) == b"1\n2"
    assert JSON_FRAMES.join([b"1", b"2"]) == b"\x81\x031\n2"
    pieces = [PLAIN_TEXT.publication("t", one), PLAIN_TEXT.publication("t", two)]
    assert PLAIN_TEXT.join(pieces) == (b"a", b'{"b":1}')
    frames = [PLAIN_FRAMES.publication("t", one), PLAIN_FRAMES.publication("t", two)]
    assert PLAIN_FRAMES.join(frames) == b'\x81\x01a\x81\x07{"b":1}'


def test_events_carry_their_position_and_keep_lines_apart() -> None:
    event = EVENT_STREAM.publication("t", Publication("t", b'"a\\nb"', 3, "ep"))
    assert event == b"id: 3:ep\ndata: a\ndata: b\n\n"
    assert EVENT_STREAM.publication("t", Publication("t", b"{}")) == b"data: {}\n\n"


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_frame_lengths_have_the_three_forms_of_the_rfc(size: int) -> None:
    payload = b"x" * size
    assert JSON_FRAMES.join([payload]) == Frame(Opcode.TEXT, payload).serialize(mask=False)


def test_payloads_that_json_cannot_say_are_refused_by_the_encoder() -> None:
    with pytest.raises((TypeError, msgspec.MsgspecError)):
        codec.encode(object())
