"""`hub publish`: one publication on a running hub."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from hub.cli.configuration import api_key_option, debug_option, json_option, token_option, url_option
from hub.cli.talk import say

SECONDS = 30.0


@click.command("publish", epilog='Example: hub publish lobby \'{"text": "hi"}\'')
@click.argument("topic")
@click.argument("data", required=False)
@url_option
@api_key_option
@token_option
@click.option("--idempotency-key", help="Publish once, however often the same key is sent.")
@json_option
@debug_option
def command(
    topic: str,
    data: str | None,
    *,
    url: str,
    api_key: str | None,
    token: str | None,
    idempotency_key: str | None,
    as_json: bool,
) -> None:
    """Publish on a topic of a running hub.

    DATA is JSON, or else published as text. `-` reads it from standard input, `@file` from a file. Prints the
    publication's position on a topic with history.
    """
    import httpx2

    from hub.cli import remote

    base = remote.check_url(url)
    sent = remote.headers(api_key, token)
    if idempotency_key is not None:
        sent["Idempotency-Key"] = idempotency_key
    where = remote.topic_url(base, "api/topics", topic)
    body = _body(data)
    try:
        with httpx2.Client(**remote.options(base, SECONDS)) as client:
            response = client.post(where, content=body, headers=sent)
    except httpx2.TransportError as error:
        raise remote.unreachable(base, error) from error
    if response.status_code != 200:
        raise remote.refused(response)
    if as_json:
        click.echo(response.text)
    elif (answer := response.json()).get("offset"):
        click.echo(f"offset {answer['offset']}, epoch {answer['epoch']}")
    else:
        say("Published; the topic keeps no history.")


def _body(data: str | None) -> bytes:
    if data is None:
        if sys.stdin.isatty():
            raise click.UsageError("DATA is missing: JSON, text, `-` for standard input, or `@file`.")
        data = "-"
    if data == "-":
        return sys.stdin.buffer.read()
    if data.startswith("@"):
        return Path(data[1:]).read_bytes()
    return data.encode("utf-8", "surrogateescape")
