"""The metrics of several workers as those of one hub: what each has counted, added up.

What a worker has counted stays counted when it dies, so no total ever falls and monitoring sees no reset. What it had
open is gone with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, TypeAlias

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from hub.metrics import APART

_KEPT: Final = frozenset({"counter", "histogram", "summary"})
"""Types that only grow."""
_BIRTH: Final = "_created"


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """One value; its name may be longer than its family's."""

    name: str
    labels: dict[str, str]
    value: float


class Family(msgspec.Struct, frozen=True, array_like=True):
    """A metric with all its samples, as any collector tells it."""

    name: str
    kind: str
    documentation: str
    samples: list[Sample]


Figures: TypeAlias = list[Family]
_decoder: Final = msgspec.msgpack.Decoder(Figures)


def taken(families: Iterable[Metric]) -> Figures:
    """What collectors tell now."""
    return [
        Family(
            family.name,
            family.type,
            family.documentation,
            [Sample(each.name, each.labels, each.value) for each in family.samples],
        )
        for family in families
    ]


def packed(figures: Figures) -> bytes:
    """The figures as bytes, for another process."""
    return msgspec.msgpack.encode(figures)


def unpacked(body: bytes) -> Figures:
    """The figures that another process has packed. Raises msgspec.MsgspecError for anything else."""
    return _decoder.decode(body)


class _Sum:
    """One family, added up. Counters and histograms as they are; of gauges those in APART keep their worker's place."""

    def __init__(self, family: Family) -> None:
        self.name = family.name
        self.kind = family.kind
        self.documentation = family.documentation
        self._values: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}

    def add(self, family: Family, place: int | None = None) -> None:
        more = {"worker": str(place)} if self.name in APART and place is not None else {}
        for sample in family.samples:
            key = (sample.name, tuple(sorted((sample.labels | more).items())))
            before = self._values.get(key)
            if before is None:
                self._values[key] = sample.value
            elif self.kind in _KEPT and sample.name.endswith(_BIRTH):
                self._values[key] = min(before, sample.value)
            else:
                self._values[key] = before + sample.value

    def family(self) -> Family:
        """The sum so far."""
        samples = [Sample(name, dict(labels), value) for (name, labels), value in self._values.items()]
        return Family(self.name, self.kind, self.documentation, samples)


class _Sums:
    """All families, added up; the order is that in which they came."""

    def __init__(self) -> None:
        self._sums: dict[str, _Sum] = {}

    def add(self, figures: Figures, place: int | None = None) -> None:
        for family in figures:
            found = self._sums.get(family.name)
            if found is None:
                found = self._sums[family.name] = _Sum(family)
            found.add(family, place)

    def figures(self) -> Figures:
        return [found.family() for found in self._sums.values()]


class Ledger:
    """What the workers that are gone have counted, to which what the living say is added."""

    def __init__(self) -> None:
        self._gone: Figures = []

    def retire(self, figures: Figures) -> None:
        """Keeps what a worker had counted when it was last heard."""
        sums = _Sums()
        sums.add(self._gone)
        sums.add([family for family in figures if family.kind in _KEPT])
        self._gone = sums.figures()

    def exposition(self, living: Mapping[int, Figures], ours: Figures) -> bytes:
        """Everything, in the text format of Prometheus 0.0.4: the workers' figures by place, and their parent's."""
        sums = _Sums()
        for place, figures in living.items():
            sums.add(figures, place)
        sums.add(self._gone)
        sums.add(ours)
        registry = CollectorRegistry()
        registry.register(_Told(sums.figures()))
        return generate_latest(registry)


class _Told(Collector):
    """Figures, as prometheus_client wants them."""

    def __init__(self, figures: Iterable[Family]) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        """The families."""
        for family in self._figures:
            told = Metric(family.name, family.documentation, family.kind)
            for sample in family.samples:
                told.add_sample(sample.name, sample.labels, sample.value)
            yield told
