"""`hub revoke`: takes back tokens on a running hub, or lifts that again."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

import click

from hub.cli.configuration import api_key_option, debug_option, json_option, url_option
from hub.cli.talk import say

SECONDS = 30.0


class Moment(click.ParamType[float]):
    """A moment in seconds since 1970: `now`, seconds, or a date and time (of this machine's zone unless it says)."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Reads it; a usage error for what is none."""
        text = str(value).strip()
        if text == "now":
            return time.time()
        try:
            return float(text) if text.replace(".", "", 1).isdecimal() else _date(text)
        except (ValueError, OverflowError, OSError):
            self.fail(f"{value!r} is no time such as now, 1767225600 or 2026-01-01T00:00:00Z", param, ctx)


def _date(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@click.command("revoke", epilog="Example: hub revoke --user ann")
@click.option("--user", help="All tokens of a user, also later ones.")
@click.option("--token-id", metavar="ID", help="The one token whose claim `jti` this is.")
@click.option(
    "--issued-before", type=Moment(), help="Tokens with an older `iat`, of --user or else of everybody."
)
@click.option("--topic", help="Bars --user from this topic alone.")
@click.option("--until", type=Moment(), help="When it may be forgotten; for a token its `exp`.")
@click.option("--lift", is_flag=True, help="Lifts what was revoked.")
@url_option
@api_key_option
@json_option
@debug_option
def command(
    *,
    user: str | None,
    token_id: str | None,
    issued_before: float | None,
    topic: str | None,
    until: float | None,
    lift: bool,
    url: str,
    api_key: str | None,
    as_json: bool,
) -> None:
    """Revoke tokens on a running hub and all its nodes.

    What they opened is closed within a second, and they are refused from then on. Times are `now`, seconds since 1970
    or a date. Ends with 5 when it is not sure that all nodes know: do it again.
    """
    if user is None and token_id is None and issued_before is None:
        raise click.UsageError("Say what to revoke: --user, --token-id or --issued-before.")
    if lift and until is not None:
        raise click.UsageError("--until goes with what is revoked, not with --lift.")
    asked = {
        "user": user,
        "token_id": token_id,
        "issued_before": issued_before,
        "channel": topic,
        "expire_at": until,
    }
    request = {name: value for name, value in asked.items() if value is not None}
    result = _call(url, "unrevoke" if lift else "revoke", api_key, request)
    if as_json:
        import json

        click.echo(json.dumps(result))
    elif lift:
        say("Lifted." if result.get("lifted") else "There was nothing to lift.")
    else:
        say("Revoked.")


def _call(url: str, method: str, api_key: str | None, request: dict[str, Any]) -> dict[str, Any]:
    import httpx2

    from hub.cli import remote
    from hub.cli.outcome import UnknownOutcomeError

    base = remote.check_url(url)
    try:
        with httpx2.Client(**remote.options(base, SECONDS)) as client:
            response = client.post(
                f"{base}/api/{method}", json=request, headers=remote.headers(api_key, None)
            )
    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
        raise remote.unreachable(base, error) from error
    except httpx2.TransportError as error:
        raise UnknownOutcomeError(f"{base} did not answer: do it again, which does no harm") from error
    answer = remote.answer(response)
    result: dict[str, Any] = answer.get("result") or {}
    return result
