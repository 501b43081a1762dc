"""`hub publish`: one publication on a running hub."""

from __future__ import annotations

import sys
import uuid
from pathlib import Path

import click

from hub.cli.configuration import api_key_option, debug_option, json_option, token_option, url_option
from hub.cli.talk import say

SECONDS = 70.0
"""Longer than a topic may let a publication wait for the broker, so that the hub's own answer is heard."""


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
    publication's position on a topic with history. Ends with 5 when it may have been published or not: the same
    --idempotency-key, which is then told, makes it safe to try again.
    """
    import httpx2

    from hub.cli import remote

    base = remote.check_url(url)
    key = uuid.uuid4().hex if idempotency_key is None else idempotency_key
    sent = {**remote.headers(api_key, token), "Idempotency-Key": key}
    where = remote.topic_url(base, "api/topics", topic)
    body = _body(data)
    try:
        with httpx2.Client(**remote.options(base, SECONDS)) as client:
            response = client.post(where, content=body, headers=sent)
    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
        raise remote.unreachable(base, error) from error
    except httpx2.TransportError as error:
        raise remote.unknown(f"{base} did not answer ({str(error) or type(error).__name__})", key) from error
    if response.status_code == 504:
        raise remote.unknown("the hub does not know what became of it", key)
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
