"""A running hub, as commands reach it over HTTP."""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Callable
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlsplit

import click
import httpx2

from hub.cli.outcome import UnknownOutcomeError, UnreachableError
from hub.errors import OUTCOME_UNKNOWN, HubError

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

CONNECT_SECONDS: Final = 5.0


class RefusedError(HubError):
    """The hub answered, and said no; the text is its own."""


def check_url(url: str) -> str:
    """The URL without a slash at its end; ends the command with status 2 when it is no http URL."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise click.BadParameter(f"{url!r} is no URL such as https://hub.example.com", param_hint="'--url'")
    return url.rstrip("/")


def headers(api_key: str | None, token: str | None) -> dict[str, str]:
    """What proves who asks."""
    found = {} if api_key is None else {"X-API-Key": api_key}
    return found if token is None else {**found, "Authorization": f"Bearer {token}"}


def topic_url(url: str, kind: str, topic: str) -> str:
    """The address of a topic below `/api/topics` or `/sse`."""
    return f"{url}/{kind}/{quote(topic, safe=':')}"


def options(url: str, read: float) -> dict[str, Any]:
    """How to talk to a hub. Proxies of the environment do not lead to this machine. `read` is in seconds."""
    return {"timeout": httpx2.Timeout(read, connect=CONNECT_SECONDS), "trust_env": not _is_here(url)}


def unreachable(url: str, error: httpx2.TransportError) -> UnreachableError:
    """The error that says what was tried and what to do."""
    reason = str(error) or type(error).__name__
    return UnreachableError(
        f"no hub answers at {url}: {reason}. Is it running? --url or HUB_URL names another, `hub dev` starts one."
    )


def unknown(reason: str, key: str) -> UnknownOutcomeError:
    """The error that says how to find out whether something was published."""
    return UnknownOutcomeError(
        f"{reason}: it may have been published, or not. Publish it again with --idempotency-key {shlex.quote(key)}"
    )


def refused(response: httpx2.Response) -> RefusedError:
    """The error that an answer other than 200 stands for; its body must have been read."""
    try:
        message = str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = f"HTTP {response.status_code}"
        if response.status_code in {404, 405}:
            message += "; is there a hub at this address?"
    hints = {401: " Give --api-key or --token.", 403: " Give --api-key, or --token of somebody who may."}
    return RefusedError(f"the hub refused: {message.rstrip('.')}.{hints.get(response.status_code, '')}")


def answer(response: httpx2.Response) -> dict[str, Any]:
    """What the server API answered; raises RefusedError, and UnknownOutcomeError for what nobody is sure of."""
    if response.status_code != 200:
        raise refused(response)
    found: dict[str, Any] = response.json()
    error = found.get("error")
    if error is None:
        return found
    if error["code"] == OUTCOME_UNKNOWN.number:
        raise UnknownOutcomeError(f"the hub says: {error['message']}")
    raise RefusedError(f"the hub refused: {error['message']}")


def _is_here(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
