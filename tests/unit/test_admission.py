"""Who may still connect: bounds, addresses, and counts that are right however connections end."""

from __future__ import annotations

import contextlib
import logging
import random

import pytest

from hub.admission import ADDRESS, HANDSHAKES, PROCESS, USER, Addresses, Admission, Bound, Refusals
from hub.metrics import LIMITED


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def make(
    connections: int | None = None,
    per_address: int | None = None,
    handshakes: int | None = None,
    clock: Clock | None = None,
) -> Admission:
    clock = clock or Clock()
    return Admission(
        connections=connections,
        per_address=per_address,
        handshakes=handshakes,
        addresses=Addresses(["127.0.0.1", "::1"]),
        refusals=Refusals(clock),
        clock=clock,
    )


def refused(bound: Bound) -> float:
    return float(LIMITED.labels(bound.setting)._value.get())


def test_as_many_as_may_are_let_in_and_one_more_when_one_has_left() -> None:
    admission = make(connections=3)
    before = refused(PROCESS)
    assert [admission.enter("a") for _ in range(4)] == [None, None, None, PROCESS]
    assert admission.count == 3
    assert refused(PROCESS) == before + 1
    admission.leave("a")
    assert [admission.enter(""), admission.enter("")] == [None, PROCESS]


def test_an_address_is_bounded_for_itself_and_those_without_one_are_not() -> None:
    admission = make(per_address=2)
    assert [admission.enter("a") for _ in range(3)] == [None, None, ADDRESS]
    assert [admission.enter("b") for _ in range(3)] == [None, None, ADDRESS]
    assert {admission.enter("") for _ in range(50)} == {None}
    admission.leave("a")
    assert [admission.enter("a"), admission.enter("a")] == [None, ADDRESS]


def test_handshakes_come_in_a_burst_and_then_at_their_rate() -> None:
    clock = Clock()
    admission = make(handshakes=10, clock=clock)
    assert [admission.enter("") for _ in range(21)] == [None] * 20 + [HANDSHAKES]
    clock.now += 0.5
    assert [admission.enter("") for _ in range(6)] == [None] * 5 + [HANDSHAKES]


def test_whoever_is_refused_by_another_bound_takes_nothing_from_the_rate() -> None:
    admission = make(per_address=1, handshakes=1)
    assert admission.enter("a") is None
    assert {admission.enter("a") for _ in range(20)} == {ADDRESS}
    assert admission.enter("b") is None


def test_without_bounds_all_come_in_and_addresses_are_not_kept() -> None:
    admission = make()
    assert {admission.enter(f"a{number}") for number in range(500)} == {None}
    assert (admission.count, admission.places) == (500, 0)


def test_a_context_leaves_once_however_it_ends() -> None:
    admission = make(connections=1, per_address=1)
    with contextlib.suppress(RuntimeError), admission.entered("a") as bound:
        assert bound is None
        with admission.entered("a") as second:
            assert second is PROCESS
        assert admission.count == 1, "whoever was refused does not leave"
        raise RuntimeError
    assert (admission.count, admission.places) == (0, 0)


@pytest.mark.parametrize("seed", range(20))
def test_counts_equal_those_of_a_list_of_who_is_there(seed: int) -> None:
    chance = random.Random(seed)
    most, each = chance.choice([None, 5, 20]), chance.choice([None, 1, 4])
    admission = make(connections=most, per_address=each)
    here: list[str] = []
    for _ in range(2_000):
        if here and chance.random() < 0.5:
            admission.leave(here.pop(chance.randrange(len(here))))
        else:
            address = chance.choice(["", "a", "b", "c", "d", "e", "f"])
            full = most is not None and len(here) >= most
            crowded = each is not None and address != "" and here.count(address) >= each
            bound = admission.enter(address)
            assert bound is (PROCESS if full else ADDRESS if crowded else None)
            if bound is None:
                here.append(address)
        assert admission.count == len(here)
        assert admission.places == (len({*here} - {""}) if each is not None else 0)
    for address in here:
        admission.leave(address)
    assert (admission.count, admission.places) == (0, 0)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::1", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("127.0.0.1", ""),
        ("::1", ""),
        ("10.1.2.3", ""),
        (None, ""),
        ("", ""),
        ("nobody knows", "?"),
        ("x" * 10_000, "?"),
    ],
)
def test_whose_a_connection_is(host: str | None, address: str) -> None:
    addresses = Addresses(["127.0.0.1", "::1", "10.0.0.0/8", "a-unix-socket"])
    assert addresses.of(host, forwarded=False) == addresses.of(host, forwarded=True) == address


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_this_machine_itself_is_not_limited_but_what_it_passes_on_is(host: str) -> None:
    addresses = Addresses(["10.0.0.0/8"])
    assert addresses.of(host, forwarded=False) == ""
    assert addresses.of(host, forwarded=True) != ""


def test_where_everybody_is_believed_an_address_counts_that_somebody_told() -> None:
    addresses = Addresses(["*"])
    assert addresses.of("203.0.113.7", forwarded=True) == "203.0.113.7"
    assert addresses.of("203.0.113.7", forwarded=False) == ""


def test_the_log_is_told_at_once_and_then_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    refusals = Refusals(clock)
    with caplog.at_level(logging.WARNING):
        for _ in range(1_000):
            refusals.count(ADDRESS)
        refusals.count(USER)
        clock.now += 61
        refusals.count(ADDRESS)
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "limits.connections_per_ip is reached; connections refused since last told: 1",
        "limits.connections_per_user is reached; connections refused since last told: 1",
        "limits.connections_per_ip is reached; connections refused since last told: 1000",
    ]
