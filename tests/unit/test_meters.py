"""The rates that clients and backends are held to, at times that the test names."""

from __future__ import annotations

import logging

import pytest

from hub import metrics
from hub.errors import ReplyError, TooManyRequests
from hub.meters import QUIET_SECONDS, Meters


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def passed(times: int, meters: Meters, user: str, topic: str) -> int:
    """How many of so many publications pass at once."""
    done = 0
    for _ in range(times):
        try:
            meters.publication(user, topic)
        except TooManyRequests:
            continue
        done += 1
    return done


def limited(limit: str) -> float:
    return metrics.REGISTRY.get_sample_value("hub_limited_total", {"limit": limit}) or 0.0


def test_a_user_publishes_so_often_on_all_topics_together(clock: Clock) -> None:
    meters = Meters(publishes_per_user=50, clock=clock)
    assert passed(70, meters, "ann", "a") + passed(70, meters, "ann", "b") == 100
    assert passed(10, meters, "bob", "a") == 10, "another user has a rate of their own"
    clock.now += 1
    assert passed(100, meters, "ann", "a") == 50


def test_a_topic_takes_so_many_of_all_users_together(clock: Clock) -> None:
    meters = Meters(publishes_per_topic=200, clock=clock)
    assert sum(passed(10, meters, f"user {number}", "a") for number in range(50)) == 400
    assert passed(1, meters, "user 1", "b") == 1
    clock.now += 0.5
    assert passed(200, meters, "ann", "a") == 100


def test_the_anonymous_user_is_not_one_user(clock: Clock) -> None:
    meters = Meters(publishes_per_user=1, publishes_per_topic=50, clock=clock)
    assert passed(200, meters, "", "a") == 100, "the topic's limit holds, the user's does not"


def test_what_a_user_is_refused_takes_nothing_from_the_topic(clock: Clock) -> None:
    meters = Meters(publishes_per_user=1, publishes_per_topic=5, clock=clock)
    assert passed(100, meters, "ann", "a") == 2
    assert passed(100, meters, "", "a") == 8


def test_what_a_topic_refuses_takes_nothing_from_the_user(clock: Clock) -> None:
    meters = Meters(publishes_per_user=2, publishes_per_topic=1, clock=clock)
    assert passed(2, meters, "bob", "busy") == 2
    assert passed(100, meters, "ann", "busy") == 0
    assert passed(10, meters, "ann", "calm") == 2
    assert passed(10, meters, "ann", "other") == 2


def test_who_is_refused_is_told_for_how_long(clock: Clock) -> None:
    meters = Meters(publishes_per_user=0.5, clock=clock)
    meters.publication("ann", "a")
    with pytest.raises(TooManyRequests) as caught:
        meters.publication("ann", "a")
    assert caught.value.code == 111
    assert caught.value.seconds == pytest.approx(2.0)
    clock.now += caught.value.seconds
    meters.publication("ann", "a")


def test_a_key_asks_so_often_and_a_request_with_many_commands_counts_as_many(clock: Clock) -> None:
    meters = Meters(api_requests=5_000, clock=clock)
    meters.request("chat", 9_999)
    meters.request("chat")
    with pytest.raises(TooManyRequests):
        meters.request("chat")
    meters.request("other", 10_000)
    with pytest.raises(ReplyError, match="10001 commands in one request, 10000 may be") as caught:
        meters.request("third", 10_001)
    assert caught.value.code == 107, "to wait would help nobody"


def test_what_was_counted_and_not_done_is_given_back(clock: Clock) -> None:
    meters = Meters(api_requests=1, clock=clock)
    for _ in range(10):
        meters.request("chat")
        meters.unasked("chat")
    meters.unasked("nobody")


def test_commands_may_come_at_once_for_every_subscription(clock: Clock) -> None:
    meters = Meters(commands=50, least_burst=130, clock=clock)
    rate = meters.commands
    assert rate is not None
    assert sum(rate.fresh().take(clock.now) for _ in range(2)) == 2
    one = rate.fresh()
    assert sum(one.take(clock.now) for _ in range(200)) == 130


def test_what_is_switched_off_is_off(clock: Clock) -> None:
    meters = Meters(clock=clock)
    assert meters.commands is None
    assert passed(1_000, meters, "ann", "a") == 1_000
    meters.request("chat", 1_000_000)


def test_refusals_are_counted_by_the_limit_alone_and_logged_once_in_a_while(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    meters = Meters(publishes_per_user=1, clock=clock)
    before = limited("publishes_per_user")
    user = "ann\n" + "x" * 1_000
    with caplog.at_level(logging.WARNING, "hub.limits"):
        assert passed(102, meters, user, "a") == 2
        assert limited("publishes_per_user") == before + 100
        assert [line.count("\n") for line in caplog.messages] == [0]
        assert len(caplog.messages[0]) < 200
        clock.now += QUIET_SECONDS
        assert passed(3, meters, user, "a") == 2
    assert "100 refused" in caplog.messages[1]
    samples = {sample.labels["limit"] for metric in metrics.LIMITED.collect() for sample in metric.samples}
    assert not any("ann" in label for label in samples)
