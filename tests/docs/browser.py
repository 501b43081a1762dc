"""A page in a running Chromium, by its DevTools protocol: what a reader would paste into the console is evaluated."""

from __future__ import annotations

import json
import time
import urllib.parse
import urllib.request
from typing import Any

from websockets.sync.client import ClientConnection, connect

SECONDS = 15.0


class PageError(AssertionError):
    """What was evaluated threw, or did not come to an end."""


def evaluate(devtools: str, url: str, expression: str) -> str:
    """Opens a tab at `url`, evaluates a text as the console does (`await` included), and returns its value."""
    request = urllib.request.Request(
        f"{devtools}/json/new?{urllib.parse.quote(url, safe=':/')}", method="PUT"
    )
    with urllib.request.urlopen(request, timeout=SECONDS) as response:
        target: dict[str, Any] = json.load(response)
    with connect(target["webSocketDebuggerUrl"], max_size=None) as tab:
        _until_loaded(tab)
        found = _call(
            tab,
            "Runtime.evaluate",
            expression=expression,
            replMode=True,
            awaitPromise=True,
            returnByValue=True,
        )
    if "exceptionDetails" in found:
        thrown = found["exceptionDetails"]
        raise PageError(f"{url}: {thrown.get('exception', {}).get('description') or thrown['text']}")
    return str(found["result"].get("value", ""))


def _until_loaded(tab: ClientConnection) -> None:
    deadline = time.monotonic() + SECONDS
    asked = "location.href !== 'about:blank' && document.readyState === 'complete'"
    while not _call(tab, "Runtime.evaluate", expression=asked)["result"].get("value"):
        if time.monotonic() > deadline:
            raise PageError("the page was not loaded")
        time.sleep(0.05)


def _call(tab: ClientConnection, method: str, **params: Any) -> dict[str, Any]:
    tab.send(json.dumps({"id": 1, "method": method, "params": params}))
    while True:
        message: dict[str, Any] = json.loads(tab.recv(timeout=SECONDS))
        if message.get("id") == 1:
            if "error" in message:
                raise PageError(f"{method}: {message['error']}")
            result: dict[str, Any] = message["result"]
            return result
