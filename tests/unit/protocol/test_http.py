from __future__ import annotations

import json

import pytest

from hub.errors import (
    BAD_REQUEST,
    INTERNAL,
    PERMISSION_DENIED,
    REPLY_CODES,
    SERVER_ERROR,
    SHUTDOWN,
    SOCKET_BAD_TOKEN,
    SOCKET_BAD_TOPIC,
    SOCKET_LIMIT,
    SOCKET_NOT_ALLOWED,
    TOO_MANY_REQUESTS,
    BrokerError,
    Code,
    Disconnect,
    HubError,
    InvalidPayload,
    ReplyError,
    StoreError,
    TopicError,
)
from hub.protocol.http import refusal


def because(end: Disconnect | ReplyError, cause: HubError) -> HubError:
    end.__cause__ = cause
    return end


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ReplyError(BAD_REQUEST), 400, 107),
        (InvalidPayload("no", "/a"), 422, 107),
        (ReplyError(TOO_MANY_REQUESTS), 429, 111),
        (ReplyError(INTERNAL), 500, 100),
        (ReplyError(1_500, "a plugin's"), 422, 1_500),
        (TopicError("bad name"), 400, 107),
        (BrokerError("away"), 503, 100),
        (BrokerError("no answer", unknown=True), 504, 300),
        (BrokerError("too large", lasting=True), 400, 107),
        (because(ReplyError(INTERNAL), BrokerError("away")), 503, 100),
        (StoreError("not migrated"), 503, 100),
        (ReplyError(1_404, "a plugin's 404"), 404, 1_404),
        (Disconnect(SOCKET_BAD_TOKEN), 401, 101),
        (Disconnect(SOCKET_NOT_ALLOWED), 403, 103),
        (Disconnect(SOCKET_BAD_TOPIC), 400, 107),
        (Disconnect(SHUTDOWN), 503, 100),
        (Disconnect(4_600, "a plugin's"), 403, 103),
        (because(Disconnect(SOCKET_BAD_TOKEN), ReplyError(PERMISSION_DENIED)), 401, 101),
        (because(Disconnect(SOCKET_NOT_ALLOWED), ReplyError(1_500, "a plugin's")), 403, 1_500),
        (because(Disconnect(SOCKET_BAD_TOPIC), TopicError("bad name")), 400, 107),
        (because(Disconnect(SOCKET_LIMIT), ReplyError(TOO_MANY_REQUESTS)), 429, 111),
        (because(Disconnect(SERVER_ERROR), BrokerError("away")), 503, 100),
        (because(Disconnect(SERVER_ERROR), BrokerError("no answer", unknown=True)), 503, 100),
    ],
)
def test_each_error_has_the_status_that_fits(error: HubError, status: int, code: int) -> None:
    told = refusal(error)
    assert (told.status, told.code) == (status, code)
    assert told.message
    assert ("Retry-After" in told.headers) == (status in {429, 503, 504})


@pytest.mark.parametrize("code", REPLY_CODES)
def test_every_reply_code_has_a_status_and_is_told_by_name_and_sentence(code: Code) -> None:
    told = refusal(ReplyError(code))
    assert 400 <= told.status < 600
    assert (told.code, told.name, told.message) == (code.number, code.name, code.sentence)


def test_a_message_of_its_own_is_told_as_it_stands() -> None:
    assert refusal(ReplyError(BAD_REQUEST, "no such thing")).message == "no such thing"


def test_the_body_names_topic_and_pointer_where_there_are_any() -> None:
    error = json.loads(refusal(InvalidPayload("no", "/a/0")).body("news:a"))["error"]
    assert error == {
        "code": 107,
        "name": "payload_invalid",
        "message": "no",
        "topic": "news:a",
        "pointer": "/a/0",
    }
    assert set(json.loads(refusal(TopicError("no")).body())["error"]) == {"code", "name", "message"}


def test_what_the_broker_said_is_not_passed_on() -> None:
    assert "password" not in refusal(BrokerError("redis://:password@host", unknown=True)).message
