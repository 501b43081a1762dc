"""What an answer becomes, and which answers are none."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from hub.errors import Disconnect, ReplyError
from hub.model import Identity, Publication
from hub.plugin import Accept, Context
from hub.webhooks.answers import BadAnswer, take

NOW = 1_000.0
PUBLICATION = Publication("a", b"1", tags={"a": "b"}, key="k")


class Clock:
    def now(self) -> float:
        return NOW


CONTEXT: Context[Any] = Context("", Clock(), logging.getLogger("x"), None)  # type: ignore[arg-type]


def taken(event: str, raw: bytes) -> Any:
    return take(event, raw, CONTEXT, (PUBLICATION,))


@pytest.mark.parametrize(
    ("event", "raw", "result"),
    [
        ("connect", b"{}", Accept()),
        ("connect", b'{"data": {"a": 1}, "subscribe": ["a:b"]}', Accept({"a": 1}, None, ("a:b",))),
        ("connect", b'{"user": "ann"}', Accept(identity=Identity("ann"))),
        (
            "connect",
            (
                b'{"user": "ann", "info": {"n": "A"},\n"expires_at": 2000, "claims": {"role": "editor", '
                b'"topics": {"b:*": ["pub"]}}}'
            ),
            Accept(
                identity=Identity(
                    "ann",
                    b'{"n":"A"}',
                    2000.0,
                    {"role": "editor", "topics": {"b:*": ["pub"]}},
                    {"b:*": frozenset({"publish"})},
                )
            ),
        ),
        ("subscribe", b"{}", Accept()),
        ("subscribe", b'{"data": 1, "info": 2}', Accept(1, 2)),
        ("publish", b"{}", None),
        ("publish", b'{"data": [1,\n2]}', PUBLICATION.replace(raw=b"[1,2]")),
        ("publish", b'{"data": null}', PUBLICATION.replace(raw=b"null")),
        (
            "publish",
            b'{"data": 12345678901234567890.10}',
            PUBLICATION.replace(raw=b"12345678901234567890.10"),
        ),
        ("publish", b'{"tags": {}, "key": "n"}', PUBLICATION.replace(tags=None, key="n")),
        ("rpc", b"{}", None),
        ("rpc", b'{"data": [1]}', [1]),
    ],
)
def test_an_answer_is_what_a_function_would_have_returned(event: str, raw: bytes, result: Any) -> None:
    assert taken(event, raw) == result


@pytest.mark.parametrize("event", ["connect", "subscribe", "publish", "rpc"])
@pytest.mark.parametrize(
    ("raw", "code", "message", "temporary"),
    [
        (b'{"error": {"code": 103}}', 103, "permission denied", False),
        (b'{"error": {"code": 103, "message": "no"}}', 103, "no", False),
        (b'{"error": {"code": 100}}', 100, "internal server error", True),
        (b'{"error": {"code": 400, "message": "m"}}', 400, "m", False),
        (b'{"error": {"code": 1999, "temporary": true}}', 1999, "error", True),
    ],
)
def test_an_error_refuses_by_its_number(
    event: str, raw: bytes, code: int, message: str, temporary: bool
) -> None:
    with pytest.raises(ReplyError) as raised:
        taken(event, raw)
    assert (raised.value.code, raised.value.message, raised.value.temporary) == (code, message, temporary)


@pytest.mark.parametrize(("code", "reason"), [(3503, "force disconnect"), (4000, ""), (4999, "")])
def test_a_disconnect_ends_the_session(code: int, reason: str) -> None:
    with pytest.raises(Disconnect) as raised:
        taken("publish", b'{"disconnect": {"code": %d}}' % code)
    assert (raised.value.code, raised.value.reason) == (code, reason)


DEEP = b'{"data": ' + b"[" * 70 + b"]" * 70 + b"}"


@pytest.mark.parametrize(
    ("event", "raw"),
    [
        ("publish", b""),
        ("publish", b"null"),
        ("publish", b"[]"),
        ("publish", b"ok"),
        ("publish", b"{} {}"),
        ("publish", b'{"data": "\xff"}'),
        ("publish", DEEP),
        ("publish", b"[" * 100_000),
        ("publish", b'{"allow": true}'),
        ("publish", b'{"user": "ann"}'),
        ("publish", b'{"tags": {"a": 1}}'),
        ("publish", b'{"key": 1}'),
        ("rpc", b'{"result": 1}'),
        ("subscribe", b'{"subscribe": ["a"]}'),
        ("rpc", b'{"error": "no"}'),
        ("rpc", b'{"error": {}}'),
        ("rpc", b'{"error": {"code": 0}}'),
        ("rpc", b'{"error": {"code": 114}}'),
        ("rpc", b'{"error": {"code": 2000}}'),
        ("rpc", b'{"error": {"code": 3501}}'),
        ("rpc", b'{"error": {"code": "103"}}'),
        ("rpc", b'{"error": {"code": 103, "message": "' + b"m" * 1_001 + b'"}}'),
        ("rpc", b'{"error": {"code": 103, "why": 1}}'),
        ("rpc", b'{"disconnect": {"code": 1000}}'),
        ("rpc", b'{"disconnect": {"code": 5000}}'),
        ("rpc", b'{"disconnect": {"code": 3999}}'),
        ("rpc", b'{"error": {"code": 103}, "disconnect": {"code": 4000}}'),
        ("connect", b'{"user": ""}'),
        ("connect", b'{"user": 5}'),
        ("connect", b'{"info": 1}'),
        ("connect", b'{"claims": {}}'),
        ("connect", b'{"expires_at": 2000}'),
        ("connect", b'{"user": "ann", "expires_at": 1000}'),
        ("connect", b'{"user": "ann", "claims": []}'),
        ("connect", b'{"user": "ann", "claims": {"topics": 5}}'),
        ("connect", b'{"subscribe": "a:b"}'),
        ("connect", b'{"subscribe": ["a b\\n"]}'),
    ],
)
def test_an_answer_of_another_shape_is_none_and_is_not_shown(event: str, raw: bytes) -> None:
    with pytest.raises(BadAnswer) as raised:
        taken(event, raw)
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize("event", ["connect", "subscribe", "publish", "rpc"])
def test_an_empty_answer_is_none_and_says_what_would_be_one(event: str) -> None:
    with pytest.raises(BadAnswer, match=r"it is empty; `\{\}` lets things go their way"):
        taken(event, b"")
