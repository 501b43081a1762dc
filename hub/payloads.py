"""Payloads at the hub's doors: what `hub.fitness` finds unfit is refused with 107, and what is too deep is counted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from hub import fitness, metrics
from hub.errors import BAD_REQUEST, ReplyError


def check(raw: bytes, *, twice: bool = True) -> None:
    """Raises ReplyError 107 for valid JSON that holds what it may not.

    With `twice` also for an object in which a name stands twice, of which readers take different ones.
    """
    with _refusing():
        fitness.check(raw, twice=twice)


def fault(text: bytes) -> str:
    """Why a text is no JSON, "" where it is; `check` has yet to be asked of it.

    Raises ReplyError 107 for one so deep that the decoder gives up.
    """
    with _refusing():
        return fitness.fault(text)


def checked(raw: bytes) -> bytes:
    """JSON that anybody may decode. Raises ReplyError 107 where it is none, or holds what it may not."""
    with _refusing():
        return fitness.checked(raw)


def decode(raw: bytes) -> Any:
    """A payload for a handler; raises as `checked` does."""
    return msgspec.json.decode(checked(raw))


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except fitness.UnfitError as error:
        if isinstance(error, fitness.TooDeepError):
            metrics.LIMITED.labels("json_depth").inc()
        raise ReplyError(BAD_REQUEST, f"bad request: {error}") from error
