"""`hub explain`: may this client do that, and which rule says so."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hub.cli.configuration import config_option, debug_option, json_option, needed
from hub.cli.outcome import FAILED
from hub.cli.token import JsonObject

if TYPE_CHECKING:
    from hub.auth.explanation import Step
    from hub.inquiry import Answer

ACTIONS = ("subscribe", "publish", "presence", "history", "rpc")


@click.command(
    "explain", epilog='Example: hub explain --user ann --claims \'{"role": "editor"}\' publish news:sport'
)
@click.argument("action", type=click.Choice(ACTIONS))
@click.argument("topic")
@config_option
@click.option("--token", help="Who asks: the bearer of this token; - reads it from standard input.")
@click.option("--user", help="Who asks: this user, as if a token named it.")
@click.option("--claims", type=JsonObject(), help='With what claims: \'{"roles": ["editor"]}\'.')
@click.option("--anonymous", is_flag=True, help="Who asks: somebody without a token.")
@click.option("--subscription-token", help="The token for the one topic that the client brings along.")
@json_option
@debug_option
def command(
    action: str,
    topic: str,
    *,
    config: Path | None,
    token: str | None,
    user: str | None,
    claims: dict[str, Any] | None,
    anonymous: bool,
    subscription_token: str | None,
    as_json: bool,
) -> int:
    """Tell whether a client may do something to a topic, and why.

    Needs no running hub: it reads the configuration, and verifies tokens with the keys in it. For `rpc` the topic is
    the method's name. Handlers are named and not called, and what was revoked only a running hub knows: ask its
    `/api/explain`. Ends with status 0 for what is allowed, 1 for what is refused, 2 or 3 where it could not be
    found out.
    """
    from hub.errors import HubError
    from hub.settings.problem import ConfigError

    _check_who(token, user, claims, anonymous)
    text = sys.stdin.read().strip() if token == "-" else (token or "").strip()  # noqa: S105 - a dash is no token
    try:
        answer = _answer(
            needed(config), action, topic, text, user or "", claims or {}, subscription_token or ""
        )
    except ConfigError:
        raise
    except (HubError, OSError) as error:
        # Status 1 says "refused", which is not what happened.
        raise click.UsageError(str(error)) from error
    click.echo(_json(answer) if as_json else "\n".join(map(_printable, _lines(answer))))
    return 0 if answer.allowed else FAILED


def _answer(config: Path, *asked: Any) -> Answer:
    import asyncio

    from hub.errors import ExpiredToken, InvalidToken, UnknownKey
    from hub.inquiry import Asked, Inquiry
    from hub.loader.compose import compose
    from hub.settings.load import load
    from hub.settings.verification import make_verifier

    question = Asked(*asked)
    blueprint = compose(load(config, os.environ), "check")
    settings = blueprint.settings
    auth, life = settings.auth, settings.limits.token_life
    verifier = make_verifier(auth, clock=time.time, monotonic=time.monotonic, longest_life=life)
    for token in (question.token, question.subscription_token):
        try:
            if token and verifier is not None:
                verifier.verify_connection(token)
        except UnknownKey:
            if verifier is not None and verifier.ring.published is not None:
                asyncio.run(verifier.ring.published.looked_up())
        except (InvalidToken, ExpiredToken):
            continue
    return Inquiry(blueprint.table, verifier, anonymous=auth.anonymous).answer(question)


def _check_who(token: str | None, user: str | None, claims: dict[str, Any] | None, anonymous: bool) -> None:
    ways = [token is not None, user is not None or claims is not None, anonymous]
    if sum(ways) != 1:
        raise click.UsageError("say who asks, in one way: --token, --user (and --claims), or --anonymous")
    if token is not None and not token.strip():
        raise click.UsageError("--token is empty; for somebody without one there is --anonymous")


def _json(answer: Answer) -> str:
    import json
    from dataclasses import asdict

    return json.dumps(asdict(answer), indent=2, ensure_ascii=False)


def _lines(answer: Answer) -> Iterator[str]:
    known = all(step.admits for step in answer.who)
    who = answer.user or ("somebody without a name" if known else "this client")
    yield f"May {who} {_doing(answer)}?"
    yield from _listed("client", answer.who)
    for handler in answer.connect:
        yield f"handler  {handler}: not called, it may refuse the client or give it another name"
    if answer.pattern:
        captures = "".join(f", {{{name}}} is {value}" for name, value in answer.params.items())
        owner = f" of plugin {answer.owner}" if answer.owner else ""
        yield f"pattern  {answer.pattern}{owner} at {answer.origin}{captures}"
    yield from _listed("name", answer.marks)
    if answer.rules_of:
        what = "rpc.allow" if answer.rules_of == "rpc" else f"allow.{answer.rules_of}"
        yield f"rules    {what} at {answer.rules_origin}{'' if answer.rules else ': none'}"
    yield from _listed("", answer.rules)
    if answer.capabilities:
        counts = any(step.what == "token" for step in answer.rules)
        yield "grants   topics of the token" + (
            "" if counts else ", which count where a rule is `token`: here none is"
        )
        yield from _listed("", answer.capabilities)
    for handler in answer.handlers:
        yield f"handler  {handler}: not called, what it decides is known to a running hub only"
    told = (
        f" (error {answer.error})"
        if 0 < answer.error < 3_000
        else f" (close {answer.error})"
        if answer.error
        else ""
    )
    yield f"verdict  {answer.verdict}{told}"


def _doing(answer: Answer) -> str:
    words = {"subscribe": "subscribe to", "publish": "publish on", "rpc": "call"}
    return f"{words.get(answer.action, f'read the {answer.action} of')} {answer.topic}"


def _listed(what: str, steps: tuple[Step, ...]) -> Iterator[str]:
    for step in steps:
        yield f"{what:8} {'yes' if step.admits else 'no ':3} {step.what}: {step.why}"


def _printable(line: str) -> str:
    """Topics and claims may come from strangers, and must not steer the terminal."""
    return "".join(mark if mark.isprintable() else "?" for mark in line)
