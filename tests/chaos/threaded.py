"""A hub in a thread of the test's own process, so that a test can make it lie."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hub.testing import LiveHub
from tests.chaos.site import API_KEY, SECRET, TOPICS, HubProcess, Site


class ThreadedNode:
    """It stands in the place of one in a process of its own; what faults do to it, it ignores."""

    def __init__(self, live: LiveHub) -> None:
        self.port = live.port
        self.url = live.url
        self.socket_url = self.direct_socket_url = f"{live.ws_url}/connection/websocket"
        self.front = self
        self.back = None

    def start(self) -> None: ...

    def thaw(self) -> None: ...

    def release(self) -> None: ...

    def cut(self, rng: random.Random, share: float) -> None: ...

    def tear(self) -> None: ...

    ready = HubProcess.ready
    history = HubProcess.history
    ask = HubProcess.ask
    _answers = HubProcess._answers


def as_it_is(live: LiveHub) -> None:
    """Nothing that makes it lie."""


@contextmanager
def threaded_site(prepare: Callable[[LiveHub], None] = as_it_is) -> Iterator[Site]:
    """A site of one such hub, on the memory broker; `prepare` is given it before anybody connects."""
    config: dict[str, Any] = {
        "auth": {
            "anonymous": True,
            "jwt": {"secret": SECRET},
            "api_keys": {"chaos": {"key": API_KEY, "allow": "*"}},
        },
        "client": {"recovery_page": 20_000, "history_page": 20_000},
        "topics": TOPICS,
    }
    with LiveHub(config) as live:
        prepare(live)
        yield Site("memory", None, [ThreadedNode(live)], Path())  # type: ignore[list-item]
