"""What people type into curl: any text as a payload, and queries as words and numbers."""

from __future__ import annotations

from typing import Final

from starlette.datastructures import QueryParams

from hub.errors import BAD_REQUEST, ReplyError
from hub.model import HistoryQuery, Position
from hub.payloads import fault
from hub.protocol.json_codec import compact, encode

DEFAULT_LIMIT: Final = 100
_MAX_OFFSET: Final = 2**63 - 1


def payload_of(body: bytes, content_type: str = "") -> bytes:
    """The JSON that a body publishes; raises ReplyError 107 for an empty one and for what is no text in UTF-8."""
    if not body:
        raise ReplyError(BAD_REQUEST, 'bad request: the body is empty; an empty text is published as ""')
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise ReplyError(BAD_REQUEST, "bad request: the body is neither JSON nor text in UTF-8") from error
    wrong = fault(body)
    if not wrong:
        return compact(body.strip())
    if _is_json(content_type):
        raise ReplyError(BAD_REQUEST, f"bad request: the body is declared as JSON and is none: {wrong}")
    return encode(text)


def _is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")


def history_query(query: QueryParams, most: int) -> HistoryQuery:
    """What `?limit=&since=&reverse=` ask for; raises ReplyError 107. Without a limit it is 100, and `most` at most."""
    limit = _number(query.get("limit", str(DEFAULT_LIMIT)), "limit")
    return HistoryQuery(
        min(limit, most) or None, _since(query.get("since", "")), _switch(query.get("reverse", ""))
    )


def _since(text: str) -> Position | None:
    if not text:
        return None
    offset, _, epoch = text.partition(":")
    return Position(_number(offset, "since"), epoch)


def _number(text: str, name: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= _MAX_OFFSET):
        form = "offset or offset:epoch" if name == "since" else "a number of publications"
        raise ReplyError(BAD_REQUEST, f"bad request: {name} is {form}")
    return int(text)


def _switch(text: str) -> bool:
    if text.lower() not in {"", "0", "1", "false", "true"}:
        raise ReplyError(BAD_REQUEST, "bad request: reverse is 1 or 0")
    return text.lower() in {"1", "true"}
