"""The names of all metrics, in one place.

Labels come from closed sets (codes, plugins, transports), never from topics or users, so that no client can make
series without bound.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from functools import lru_cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import Metric

REGISTRY = CollectorRegistry(auto_describe=True)


class HotCounter(Counter):
    """A counter for what happens with every publication: it takes its lock when it is read, not when it counts.

    What is counted belongs to one event loop; several threads may count only because of how CPython changes threads.
    """

    since: float = 0
    _parts: tuple[HotCounter, ...] = ()

    def inc(self, amount: float = 1, exemplar: dict[str, str] | None = None) -> None:
        """Counts."""
        self.since += amount

    def part(self, *labels: str) -> HotCounter:
        """The counter of these labels, to be kept by who counts."""
        found = self.labels(*labels)
        if found not in self._parts:
            self._parts += (found,)
        return found

    def collect(self) -> Iterable[Metric]:
        """What was counted until now."""
        for each in self._parts or (self,):
            since, each.since = each.since, 0
            if since:
                Counter.inc(each, since)
        return super().collect()


class HotHistogram(Histogram):
    """The same for durations, without labels."""

    _sum_since: float = 0
    _counts_since: list[int] | None = None

    def observe(self, amount: float, exemplar: dict[str, str] | None = None) -> None:
        """Counts a duration, in seconds."""
        if self._counts_since is None:
            self._counts_since = [0] * len(self._upper_bounds)
        self._sum_since += amount
        self._counts_since[bisect_left(self._upper_bounds, amount)] += 1

    def collect(self) -> Iterable[Metric]:
        """What was counted until now."""
        total, self._sum_since = self._sum_since, 0
        counts, self._counts_since = self._counts_since or (), None
        self._sum.inc(total)
        for bucket, count in zip(self._buckets, counts, strict=False):
            bucket.inc(count)
        return super().collect()


CONNECTIONS = Gauge("hub_connections", "Sessions open on this node.", ["transport"], registry=REGISTRY)
SUBSCRIPTIONS = Gauge("hub_subscriptions", "Subscriptions held on this node.", registry=REGISTRY)
TOPICS = Gauge("hub_topics", "Topics with subscribers on this node.", registry=REGISTRY)
CONNECTS = Counter("hub_connects", "Sessions opened.", ["transport"], registry=REGISTRY)
DISCONNECTS = Counter("hub_disconnects", "Sessions ended by the hub, by code.", ["code"], registry=REGISTRY)
UNSUBSCRIBES = Counter(
    "hub_unsubscribes", "Subscriptions ended by the hub, by code.", ["code"], registry=REGISTRY
)
COMMANDS = HotCounter("hub_commands", "Client commands handled, by method.", ["method"], registry=REGISTRY)
REPLY_ERRORS = Counter(
    "hub_reply_errors",
    "Commands answered with an error, by method and code.",
    ["method", "code"],
    registry=REGISTRY,
)
LIMITED = Counter(
    "hub_limited",
    "What was refused because it went over a limit, by the limit's name.",
    ["limit"],
    registry=REGISTRY,
)
PUBLICATIONS = HotCounter("hub_publications", "Publications accepted on this node.", registry=REGISTRY)
DELIVERIES = HotCounter(
    "hub_deliveries", "Publications handed to subscribers of this node.", registry=REGISTRY
)
DROPPED = Counter(
    "hub_dropped_publications",
    "Publications not sent to a subscriber, by reason.",
    ["reason"],
    registry=REGISTRY,
)
SLOW = Counter(
    "hub_slow_clients",
    "Sessions ended as too slow, by whose bound was reached: the client's own or the node's.",
    ["bound"],
    registry=REGISTRY,
)
QUEUED = Gauge("hub_queued_bytes", "Bytes that wait for slow clients of this node.", registry=REGISTRY)
ANNOUNCEMENTS = Counter(
    "hub_announcements", "Broker messages in which joins and leaves were told.", registry=REGISTRY
)
CHANGES_WAITING = Gauge(
    "hub_joins_and_leaves_waiting", "Joins and leaves that have yet to be told.", registry=REGISTRY
)
HELD_LEAVES = Gauge("hub_held_leaves", "Leaves held back in case the user comes back.", registry=REGISTRY)
RECOVERIES = Counter(
    "hub_recoveries", "Resubscribes with a position, by outcome.", ["recovered"], registry=REGISTRY
)
GAPS = Counter(
    "hub_gaps",
    "Topics on which publications may have been missed, by outcome.",
    ["outcome"],
    registry=REGISTRY,
)
HANDLER_ERRORS = Counter(
    "hub_handler_errors",
    "Handler calls that failed or took too long.",
    ["plugin", "handler"],
    registry=REGISTRY,
)
WEBHOOKS = Counter(
    "hub_webhooks",
    "Calls of webhooks, by event and by what came of them.",
    ["event", "outcome"],
    registry=REGISTRY,
)
WEBHOOK_SECONDS = Histogram(
    "hub_webhook_duration_seconds",
    "Time that callers waited for a webhook, answered or not.",
    registry=REGISTRY,
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
BROKER_UP = Gauge("hub_broker_up", "Whether the broker answers: 1 or 0.", registry=REGISTRY)
LEASES = Gauge("hub_leases", "Leases of once-per-cluster work that this node holds.", registry=REGISTRY)
LEASES_LOST = Counter(
    "hub_leases_lost", "Leases that ended while work ran under them, which was cancelled.", registry=REGISTRY
)
REQUESTS = HotCounter(
    "hub_http_requests", "HTTP requests answered, by status class.", ["status"], registry=REGISTRY
)
_CLASSES = [REQUESTS.part(f"{number}xx") for number in range(1, 6)]
PUBLISH_SECONDS = HotHistogram(
    "hub_publish_duration_seconds",
    "Time from a publish command to the broker's acknowledgement.",
    registry=REGISTRY,
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
PUBLISH_WAITING = Gauge(
    "hub_publish_waiting", "Publications that wait in this node for the broker.", registry=REGISTRY
)
PUBLISH_OVERFLOWS = Counter(
    "hub_publish_overflows",
    "Publications refused because as many as may waited for the broker, or were under way to it, already.",
    registry=REGISTRY,
)
PUBLISH_FAILURES = Counter(
    "hub_publish_failures",
    "Publications that the broker did not take, by outcome.",
    ["outcome"],
    registry=REGISTRY,
)
BUILD = Gauge("hub_build_info", "Always 1; the version is in the label.", ["version"], registry=REGISTRY)
WORKERS = Gauge("hub_workers", "Processes that serve, of this `hub serve`.", registry=REGISTRY)
WORKERS_UNREACHABLE = Gauge(
    "hub_workers_unreachable",
    "Workers that did not answer in time; for these the scrape has their last figures.",
    registry=REGISTRY,
)
WORKER_RESTARTS = Counter(
    "hub_worker_restarts", "Workers that ended unasked and were replaced.", registry=REGISTRY
)

APART = frozenset({"hub_topics", "hub_broker_up", "hub_build_info"})
"""Gauges whose sum over workers would say nothing: each worker's has a label `worker`. All others are summed."""


def session_opened(transport: str) -> None:
    """Counts a session that has come by one kind of transport."""
    connections, connects = _sessions(transport)
    connections.inc()
    connects.inc()


def session_closed(transport: str) -> None:
    """Counts it no longer as open."""
    _sessions(transport)[0].dec()


@lru_cache(maxsize=16)
def _sessions(transport: str) -> tuple[Gauge, Counter]:
    return CONNECTIONS.labels(transport), CONNECTS.labels(transport)


def count_request(status: int) -> None:
    """Counts an HTTP request that is answered with this status."""
    _CLASSES[status // 100 - 1].inc()


def exposition() -> bytes:
    """All metrics in the text format of Prometheus 0.0.4."""
    return generate_latest(REGISTRY)


def total(metric: Counter | Gauge) -> float:
    """The sum of a metric over all its labels."""
    return sum(
        sample.value
        for family in metric.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    )
