"""A receiver that remembers what a bridge hands it, for tests to wait on."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable

from hub.model import Publication


class Recorder:
    """Keeps, for each topic, all publications and gaps in the order in which they came; a gap is its reason."""

    def __init__(self) -> None:
        self.seen: dict[str, list[Publication | str]] = defaultdict(list)
        self.deliveries = 0
        self.fail: Callable[[str], None] | None = None

    def deliver(self, topic: str, publications: list[Publication]) -> None:
        self.deliveries += 1
        if self.fail is not None:
            self.fail(topic)
        self.seen[topic] += publications

    def gap(self, topic: str, reason: str) -> None:
        self.seen[topic].append(reason)

    def publications(self, topic: str) -> list[Publication]:
        return [each for each in self.seen[topic] if isinstance(each, Publication)]

    def raws(self, topic: str) -> list[bytes]:
        return [publication.raw for publication in self.publications(topic)]

    def gaps(self, topic: str) -> list[str]:
        return [each for each in self.seen[topic] if isinstance(each, str)]

    def offsets(self, topic: str) -> list[int]:
        return [publication.offset for publication in self.publications(topic)]

    def after_gap(self, topic: str) -> list[bytes]:
        """Payloads that came after the last gap."""
        seen = self.seen[topic]
        last = max((at for at, each in enumerate(seen) if isinstance(each, str)), default=-1)
        return [each.raw for each in seen[last + 1 :] if isinstance(each, Publication)]


async def eventually(holds: Callable[[], bool], *, within: float = 8) -> None:
    """Returns when `holds()`, and fails when it never does."""
    try:
        async with asyncio.timeout(within):
            while not holds():  # noqa: ASYNC110  # what it asks lies in many places
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError("what the test waits for did not happen") from None
