"""Hostile input sent to a hub in a process of its own: `python -m tests.fuzz.hostile [rounds]`; see `scripts/hostile`.

It prints how many entries of the corpus were tried and how they were answered: as expected, otherwise, leniently (what
was to be refused was served), not at all, or by the end of the hub or a fault in its log; and the memory of the process
after each round. The exit status is 0 when all was as expected and the memory did not grow after the second round.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil

from tests.fuzz.hostile_entries import Entry, frame, read_corpus
from tests.fuzz.hostile_talk import HUNG, Client, begun, tried
from tests.fuzz.tokens import public_keys
from tests.services.hub import API_KEY, SECRET, HubProcess

ROUNDS: Final = 10
MOST_GROWTH: Final = 4 * 1_048_576
"""Bytes by which the hub may grow after the second round."""
KINDS: Final = ("as expected", "otherwise", "leniently", "hung", "crashed")
_FAULTS: Final = ("Traceback", '"level":"error"', '"level":"critical"')
_SERVED: Final = frozenset({"served", "http 200", "http 201", "http 204"})
_SETTLED_SECONDS: Final = 5.0
_ASK_SECONDS: Final = 0.1
_OTHERS_SECONDS: Final = 5.0
"""How long the hub may let another client wait."""
ANYONE: Final = dict.fromkeys(("subscribe", "publish", "history", "presence"), "anyone")


def config() -> dict[str, Any]:
    """The hub that is tried: all kinds of keys, and no limits in the way of one machine that tries everything."""
    keys = {name: {"public_key": pem} for name, (pem, _, _) in public_keys().items()}
    return {
        "version": 1,
        "server": {"port": 0, "compression": True, "drain": "1s"},
        "client": {"stale": "1s", "subscriptions": 5},
        "log": {"format": "json"},
        "database": {"url": "sqlite://"},
        "auth": {
            "anonymous": True,
            "jwt": {"secret": SECRET, "keys": keys},
            "api_keys": {"tests": {"key": API_KEY}, "small": {"key": f"small-{API_KEY}", "allow": ["info"]}},
        },
        "limits": {"connections_per_ip": None, "handshakes": None, "publishes_per_topic": None},
        "topics": {
            "open:{name}": {"allow": ANYONE, "history": {"size": 20, "ttl": "1m"}, "presence": True},
            "bare:{name}": {"allow": {"subscribe": "anyone"}},
            "closed:{name}": {"allow": {"subscribe": "authenticated", "publish": "authenticated"}},
            "own:{user}": {"allow": {"subscribe": "user:{user}", "publish": "user:{user}"}},
        },
    }


@dataclass
class Verdict:
    """What came of all that was tried."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    """By family, how many were answered how."""
    complaints: list[str] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    """Resident bytes after each round."""
    descriptors: list[int] = field(default_factory=list)
    log: str = ""

    @property
    def total(self) -> Counter[str]:
        """How many were answered how."""
        return sum(self.counts.values(), Counter())

    @property
    def growth(self) -> int:
        """Bytes from the second round to the last; the first ones fill caches."""
        return max(0, self.memory[-1] - self.memory[1]) if len(self.memory) > 2 else 0

    def judge(self) -> None:
        """Adds what only the whole of it shows."""
        if self.growth > MOST_GROWTH:
            self.complaints.append(f"the memory has grown by {self.growth / 1_048_576:.1f} MiB")
        if self.descriptors and self.descriptors[-1] > self.descriptors[0]:
            self.complaints.append(f"descriptors are held: {self.descriptors}")
        if any(fault in self.log for fault in _FAULTS):
            self.complaints.append("the log holds a fault")

    def table(self) -> str:
        """As a person reads it."""
        lines = [f"{'':12}{'tried':>8}" + "".join(f"{kind:>14}" for kind in KINDS)]
        for family, counts in [*self.counts.items(), ("all", self.total)]:
            lines.append(f"{family:12}{counts.total():>8}" + "".join(f"{counts[kind]:>14}" for kind in KINDS))
        told = [f"{size / 1_048_576:.1f}" for size in self.memory]
        lines.append(f"memory after each round, MiB: {', '.join(told)}; descriptors: {self.descriptors}")
        return "\n".join(lines)


class Trial:
    """A running hub, a good client beside the hostile ones, and what was seen."""

    def __init__(self, hub: HubProcess, port: int) -> None:
        self.verdict = Verdict()
        self._hub = hub
        self.port = port
        self._process = psutil.Process(hub.process.pid)
        self._good: Client | None = None
        self._faults = 0
        self._asked = 0.0

    async def run(self, entries: Sequence[Entry], rounds: int, patient: int) -> Verdict:
        """Tries all entries in each round; the slow ones side by side, beside all others, in the `patient` rounds."""
        with suppress(OSError):
            self._good = await begun(self.port, "connected", path="/connection/websocket")
        for number in range(rounds):
            waiting = [entry for entry in entries if entry.slow and number < patient]
            slow = [asyncio.create_task(self._try(entry)) for entry in waiting]
            for entry in entries:
                if not entry.slow:
                    await self._try(entry)
            await asyncio.gather(*slow)
            await self._measure()
        if self._good is not None:
            await self._good.leave()
        self.verdict.log = self._hub.said
        self.verdict.judge()
        return self.verdict

    async def _try(self, entry: Entry) -> None:
        try:
            outcome = await tried(entry, self.port)
        except OSError:
            outcome = "no connection"
        kind = await self._kind(entry, outcome)
        self.verdict.counts.setdefault(entry.family, Counter())[kind] += 1
        if kind != KINDS[0]:
            wanted = " or ".join(entry.expected)
            self.verdict.complaints.append(f"{entry.family}: {entry.name}: {kind}: {outcome}, not {wanted}")

    async def _kind(self, entry: Entry, outcome: str) -> str:
        faults = sum(self._hub.said.count(fault) for fault in _FAULTS)
        before, self._faults = self._faults, faults
        if self._hub.process.poll() is not None or faults > before:
            return "crashed"
        if outcome == HUNG or not await self._others_are_served():
            return "hung"
        if outcome in entry.expected:
            return "as expected"
        return "leniently" if outcome in _SERVED else "otherwise"

    async def _others_are_served(self) -> bool:
        """Whether the good client still gets its answers; it asks no oftener than clients may."""
        good, now = self._good, time.monotonic()
        if good is None or good.answers.ended:
            return False
        if now < self._asked + _ASK_SECONDS:
            return True
        self._asked = now
        count = good.answers.pongs
        while good.answers.pings:
            good.answers.pings -= 1
            await good.send(frame(0x81, b"{}"))
        await good.send(frame(0x89))
        return await good.until(lambda: good.answers.pongs > count, _OTHERS_SECONDS)

    async def _measure(self) -> None:
        """Memory and descriptors, once what is closing has closed."""
        if self._hub.process.poll() is not None:
            return
        held = self._process.num_fds()
        for _ in range(int(_SETTLED_SECONDS / 0.1)):
            await asyncio.sleep(0.1)
            if self._process.num_fds() == held and held <= min(self.verdict.descriptors, default=held):
                break
            held = self._process.num_fds()
        self.verdict.descriptors.append(held)
        self.verdict.memory.append(self._process.memory_info().rss)


def try_all(folder: Path, entries: Sequence[Entry], rounds: int, patient: int) -> Verdict:
    """Starts a hub in the folder and tries it; entries that wait for its patience to end only in `patient` rounds."""
    (folder / "hub.yaml").write_text(json.dumps(config()))
    with HubProcess("serve", "--config", "hub.yaml", cwd=folder) as hub:
        port = int(hub.url().rpartition(":")[2])
        return asyncio.run(Trial(hub, port).run(entries, rounds, patient))


def briefly(lines: Iterable[str]) -> str:
    """Lines, each once."""
    return "\n".join(dict.fromkeys(lines))


def main() -> int:
    """Tries the whole corpus; 0 when all was as expected."""
    rounds = int(sys.argv[1]) if sys.argv[1:] else ROUNDS
    with tempfile.TemporaryDirectory(prefix="hub-hostile-") as folder:
        verdict = try_all(Path(folder), read_corpus(), rounds, rounds)
    print(verdict.table())
    if verdict.complaints:
        print(briefly(verdict.complaints), file=sys.stderr)
    return 1 if verdict.complaints else 0


if __name__ == "__main__":
    raise SystemExit(main())
