"""The metrics of several workers as those of one hub."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from hub.serving.figures import Figures, Ledger, packed, taken, unpacked


class Process:
    """What one worker counts, with a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self.sent = Counter("hub_sent", "Sent.", ["code"], registry=self.registry)
        self.seconds = Histogram("hub_seconds", "Took.", registry=self.registry, buckets=(0.1, 1))
        self.open = Gauge("hub_open", "Open.", registry=self.registry)
        self.up = Gauge("hub_broker_up", "Whether it is up.", registry=self.registry)

    def figures(self) -> Figures:
        return unpacked(packed(taken(self.registry.collect())))


def values(exposition: bytes) -> dict[str, float]:
    """The samples as a scrape reads them, by name and labels."""
    return {
        each.name + "".join(f" {key}={value}" for key, value in sorted(each.labels.items())): each.value
        for family in text_string_to_metric_families(exposition.decode())
        for each in family.samples
    }


def test_counters_and_histograms_and_gauges_are_summed() -> None:
    one, two = Process(), Process()
    one.sent.labels("200").inc(3)
    two.sent.labels("200").inc(4)
    two.sent.labels("404").inc()
    for process, seconds in ((one, 0.05), (two, 0.5), (two, 5)):
        process.seconds.observe(seconds)
    one.open.set(10)
    two.open.set(5)
    found = values(Ledger().exposition({0: one.figures(), 1: two.figures()}, []))
    assert found["hub_sent_total code=200"] == 7
    assert found["hub_sent_total code=404"] == 1
    assert found["hub_seconds_bucket le=0.1"] == 1
    assert found["hub_seconds_bucket le=1.0"] == 2
    assert found["hub_seconds_bucket le=+Inf"] == found["hub_seconds_count"] == 3
    assert found["hub_seconds_sum"] == 5.55
    assert found["hub_open"] == 15


def test_a_gauge_whose_sum_would_lie_is_told_for_each_worker() -> None:
    one, two = Process(), Process()
    one.up.set(1)
    found = values(Ledger().exposition({0: one.figures(), 1: two.figures()}, []))
    assert found["hub_broker_up worker=0"] == 1
    assert found["hub_broker_up worker=1"] == 0
    assert "hub_broker_up" not in found


def test_what_the_dead_have_counted_stays_and_what_they_had_open_does_not() -> None:
    ledger, heir = Ledger(), Process()
    for _ in range(2):
        dead = Process()
        dead.sent.labels("200").inc(100)
        dead.seconds.observe(0.05)
        dead.open.set(7)
        dead.up.set(1)
        ledger.retire(dead.figures())
    heir.sent.labels("200").inc()
    found = values(ledger.exposition({0: heir.figures()}, []))
    assert found["hub_sent_total code=200"] == 201
    assert found["hub_seconds_bucket le=0.1"] == 2
    assert found["hub_open"] == 0
    assert found["hub_broker_up worker=0"] == 0


def test_a_death_is_no_new_birth() -> None:
    ledger, first = Ledger(), Process()
    first.sent.labels("200").inc()
    before = values(ledger.exposition({0: first.figures()}, []))
    ledger.retire(first.figures())
    heir = Process()
    heir.sent.labels("200").inc()
    after = values(ledger.exposition({0: heir.figures()}, []))
    assert after["hub_sent_created code=200"] == before["hub_sent_created code=200"]


def test_collectors_that_make_their_figures_when_asked_are_taken_as_they_tell_them() -> None:
    class Lazy(Collector):
        """Counts by itself and has no metric that prometheus_client knows."""

        def collect(self) -> Iterator[Metric]:
            family = CounterMetricFamily("hub_lazy", "Lazy.", labels=["by"])
            family.add_metric(["a"], 2.5)
            yield family

    one, two = Process(), Process()
    for process in (one, two):
        process.registry.register(Lazy())
    assert values(Ledger().exposition({0: one.figures(), 1: two.figures()}, []))["hub_lazy_total by=a"] == 5


def test_help_and_type_are_told_once_for_each_metric() -> None:
    text = Ledger().exposition({0: Process().figures(), 1: Process().figures()}, []).decode()
    assert text.count("# HELP hub_open Open.\n") == text.count("# TYPE hub_open gauge\n") == 1
    assert text.count("# TYPE hub_sent_total counter\n") == 1


def test_the_figures_of_the_parent_are_added() -> None:
    worker, parent = Process(), Process()
    parent.open.set(1)
    assert values(Ledger().exposition({0: worker.figures()}, parent.figures()))["hub_open"] == 1
