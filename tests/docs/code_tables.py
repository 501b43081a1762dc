"""The reference of codes and metrics, from `hub.errors` and `hub.metrics`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from hub import errors, metrics
from hub.errors import (
    DISCONNECT_CODES,
    REPLY_CODES,
    SOCKET_CODES,
    TOKEN_EXPIRED,
    UNSUBSCRIBE_CODES,
    Code,
    ReplyError,
)
from hub.protocol.http import refusal
from tests.docs.markdown import ROOT, code, table

_TELL_OF_ALL = {"hub/errors.py", "hub/plugin.py", "hub/protocol/http.py"}
_RESERVED = "Reserved: this version does not send it. "
_RETRIED = "tries connect and subscribe again, later and later; other calls fail with it"
_DROPPED = "drops its token, asks `getToken` for a fresh one, and tries again"
_REFUSED = "gives up that connect or subscribe; other calls fail with it"
_COMES_BACK = "reconnects, and recovers its subscriptions"
_FORGETS = "reconnects without the token and the positions that it had"
_STAYS_AWAY = "stays away until the application calls `connect()`"
_LEAVES = "stays unsubscribed until the application calls `subscribe()`"
_RESUBSCRIBES = "subscribes again and recovers"
_RESUBSCRIBES_ANEW = "subscribes again, without the token and the position that it had"


@cache
def reserved() -> set[str]:
    """The numbers that exist in the protocol and that no part of the hub or of its plugins sends."""
    declared = {name: value for name, value in vars(errors).items() if isinstance(value, Code)}
    used: set[str] = set()
    for path in [*(ROOT / "hub").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]:
        if path.relative_to(ROOT).as_posix() not in _TELL_OF_ALL:
            used |= set(re.findall(r"\b[A-Z][A-Z_]+\b", path.read_text()))
    return {str(code.number) for name, code in declared.items() if name not in used}


def reply_codes() -> str:
    """Reply errors, with the status that they have over plain HTTP."""
    rows = [
        (
            str(each.number),
            code(each.name),
            _meaning(each),
            str(refusal(ReplyError(each)).status),
            _after_reply(each),
        )
        for each in REPLY_CODES
    ]
    return table(("code", "name", "meaning", "HTTP", "what an SDK does"), rows)


def _meaning(each: Code) -> str:
    return (_RESERVED if str(each.number) in reserved() else "") + each.sentence


def _after_reply(each: Code) -> str:
    if each is TOKEN_EXPIRED:
        return _DROPPED
    return _RETRIED if each.temporary else _REFUSED


def disconnect_codes() -> str:
    """Ends of a session."""
    return _ends(DISCONNECT_CODES, 3500, _COMES_BACK, _STAYS_AWAY, {3014: _FORGETS})


def unsubscribe_codes() -> str:
    """Ends of a subscription; here the lower numbers are the final ones."""
    return _ends(UNSUBSCRIBE_CODES, 2500, _LEAVES, _RESUBSCRIBES, {2502: _RESUBSCRIBES_ANEW})


def _ends(codes: Iterable[Code], border: int, below: str, above: str, others: dict[int, str]) -> str:
    rows = [
        (
            str(each.number),
            code(each.name),
            _meaning(each),
            others.get(each.number, below if each.number < border else above),
        )
        for each in codes
    ]
    return table(("code", "name", "meaning", "what an SDK does"), rows)


def socket_codes() -> str:
    """Ends of a plain socket."""
    return table(
        ("code", "name", "meaning", "reason sent"),
        [(str(each.number), code(each.name), each.sentence, code(each.message)) for each in SOCKET_CODES],
    )


def metric_names() -> str:
    """Every metric as a scrape shows it."""
    rows = []
    for family in metrics.REGISTRY.collect():
        collector = metrics.REGISTRY._names_to_collectors[family.name]
        labels = ", ".join(map(code, collector._labelnames))  # type: ignore[attr-defined]
        shown = f"{family.name}_total" if family.type == "counter" else family.name
        rows.append((code(shown), family.type, labels, family.documentation))
    return table(("metric", "type", "labels", "what it says"), rows)
