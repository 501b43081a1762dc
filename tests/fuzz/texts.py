"""What the decoders of commands and the reader of hub.yaml must do with any bytes at all."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from hub.api.methods import METHODS
from hub.errors import Disconnect
from hub.protocol.commands import Command
from hub.protocol.json_codec import decode_commands, decode_connect, payload
from hub.settings.document import Document
from hub.settings.model import Settings
from hub.settings.problem import ConfigCode
from hub.settings.verdict import judge

MOST_SECONDS: Final = 5.0
"""How long a file of at most the largest size may take to be judged."""


# Commands


def command_decoder(data: bytes) -> None:
    """The first byte says what decodes the rest: commands of clients, a one-way connect, or a method of the API."""
    if not data:
        return
    which, text = data[0] % (2 + len(METHODS)), data[1:]
    if which == 0:
        _commands(text)
    elif which == 1:
        try:
            decode_connect(text)
        except Disconnect as refused:
            assert refused.code == 3501, refused
    else:
        _request(list(METHODS.values())[which - 2], text)


def _commands(text: bytes) -> None:
    found: list[Command] = []
    try:
        found.extend(decode_commands(text))
    except Disconnect as refused:
        assert refused.code == 3501, refused
        return
    assert found
    if b"\n" not in text:
        known = _as_json(text)
        assert isinstance(known, dict), "what is no JSON object was taken"
        assert int(known.get("id", "0")) == found[0].id, "another reader finds another id"
    for command in found:
        _payload(command)


def _payload(command: Command) -> None:
    method = command.method()
    raw = getattr(method[1], "data", msgspec.UNSET) if method else msgspec.UNSET
    text = payload(raw)
    if text is None:
        return
    assert b"\n" not in text and b"\r" not in text, "a payload would break its line"  # noqa: PT018
    assert _as_json(text) == _as_json(bytes(raw)), "a payload is not what was sent"  # type: ignore[arg-type]


def _as_json(text: bytes) -> Any:
    """As the standard library has it, numbers as they were written; None where that nests too deep for it."""

    def refuse(word: str) -> Any:
        raise AssertionError(f"{word} was taken")

    try:
        return json.loads(text.decode(), parse_constant=refuse, parse_int=str, parse_float=str)
    except RecursionError:
        return {}
    except ValueError as error:
        raise AssertionError(f"what is no JSON was taken: {error}") from error


def _request(method: Any, text: bytes) -> None:
    with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        text.decode()
        request = method.decode(text or b"{}")
        assert msgspec.json.encode(request)


# hub.yaml


def settings_file(data: bytes) -> None:
    """The text of a hub.yaml: whatever it is, the outcome is settings or problems with a code, in bounded time."""
    began = time.monotonic()
    text = data.decode("utf-8", "replace")
    document = Document.parse(text, "hub.yaml").expanded({"X": "1"})
    verdict = judge(Settings, document, folder=Path())
    for problem in verdict.problems:
        assert ConfigCode(problem.code).sentence
        assert problem.message
        assert str(problem).isprintable(), "a message could write anything on a terminal"
    if not document.complete:
        assert verdict.problems, "a file that was not read to its end is no problem"
    assert time.monotonic() - began < MOST_SECONDS, "a file takes too long"
