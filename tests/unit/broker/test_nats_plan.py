"""What a publish to NATS writes down: positions, marks, and how long a state lasts."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.broker.base import Outgoing, PublishResult
from hub.broker.envelope import EnvelopeError, encode_body
from hub.broker.nats.plan import Call, Plan, Remembered, make_plan
from hub.broker.nats.state import TopicState, pack, publications, unpack
from hub.broker.nats.subjects import Subjects
from hub.errors import HubError
from hub.model import HistoryOptions, Position, Publication
from hub.nats.address import Address
from hub.nats.token import name_of, token_of

NOW = 1_000_000


def calls(count: int, *, size: int = 10, ttl: float = 60, key: str = "") -> list[Call]:
    loop = asyncio.new_event_loop()
    try:
        made = []
        for number in range(count):
            publication = Publication("t", b"%d" % number)
            message = Outgoing(publication, HistoryOptions(size, ttl, 120), idempotency_key=key)
            made.append(Call(message, encode_body(publication), loop.create_future()))
        return made
    finally:
        loop.close()


def plan(state: TopicState | None, sequence: int, made: list[Call], now: int = NOW) -> Plan:
    return make_plan(state, sequence, made, {}, now)


@given(st.text(max_size=300), st.text(max_size=300))
def test_tokens_are_reversible_and_never_shared(one: str, other: str) -> None:
    assert name_of(token_of(one)) == one
    assert (token_of(one) == token_of(other)) == (one == other)


@pytest.mark.parametrize(
    "name", ["a.b", "*", ">", "a b", "$JS.API", "\r\n", "", "é", "\ud800", "%", "x" * 255, "\x1fnode"]
)
def test_tokens_hold_nothing_that_nats_gives_a_meaning(name: str) -> None:
    token = token_of(name)
    assert name_of(token) == name
    assert token
    assert token.isascii()
    assert not set(token) & set(".*> \t\r\n$\x00")
    subjects = Subjects(token_of("hub"))
    assert subjects.kept(name).count(".") == subjects.live(name).count(".") == 2
    assert len(subjects.result(name, name * 100)) < 1000


def test_message_says_what_was_put_into_it() -> None:
    made = plan(None, 0, calls(3))
    state, bodies = unpack(pack(made.state, made.bodies))
    assert state == made.state
    assert [(each.raw, each.offset) for each in publications("t", state, bodies)] == [
        (b"0", 1),
        (b"1", 2),
        (b"2", 3),
    ]


@pytest.mark.parametrize(
    "message", [b"", b"{}\n", b"nonsense", b'{"e":"a","x":1,"n":[[5]]}\nabc', b'{"e":"a","x":1}']
)
def test_what_is_no_message_is_refused(message: bytes) -> None:
    with pytest.raises(EnvelopeError):
        unpack(message)


def test_offsets_go_on_from_the_state_and_begin_anew_when_it_has_expired() -> None:
    first = plan(None, 0, calls(2))
    assert first.results == [PublishResult(Position(offset, first.state.epoch)) for offset in (1, 2)]
    second = plan(first.state, 7, calls(1))
    assert second.results == [PublishResult(Position(3, first.state.epoch))]
    third = plan(second.state, 8, calls(1), second.state.expires)
    assert third.results[0].position == Position(1, third.state.epoch)
    assert third.state.epoch != first.state.epoch


def test_state_never_expires_before_an_earlier_one() -> None:
    """The earlier one would be the topic's last message again, and its offsets would be given out twice."""
    long = HistoryOptions(10, 60, 1000)
    made = calls(1)
    made[0].message.history = long
    first = plan(None, 0, made)
    assert first.state.expires == NOW + 1_000_000
    assert plan(first.state, 1, calls(1)).state.expires == first.state.expires


def test_key_is_answered_from_memory_until_it_is_forgotten() -> None:
    remembered = {"k": Remembered(4, "epoch", NOW + 1)}
    seen = make_plan(None, 0, calls(2, key="k"), remembered, NOW)
    assert seen.results == [PublishResult(Position(4, "epoch"), suppressed=True)] * 2
    assert not seen.bodies
    later = make_plan(None, 0, calls(2, key="k"), remembered, NOW + 1)
    assert [result.suppressed for result in later.results] == [False, True]
    assert later.results[0].position == later.results[1].position == Position(1, later.state.epoch)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=80), st.integers(1, 300))
def test_marks_are_few_and_never_lie(batches: list[int], size: int) -> None:
    """A mark's promise: what follows its offset lies behind its sequence; what may go is no longer readable."""
    state: TopicState | None = None
    where: dict[int, int] = {}
    for sequence, count in enumerate(batches, 1):
        made = plan(state, sequence - 1, calls(count, size=size))
        state = made.state
        for entry in state.entries:
            where[entry.offset] = sequence
        low = state.lowest
        assert all(where[offset] >= state.start(low) for offset in range(low + 1, state.top + 1))
        if made.purge:
            assert all(where[offset] >= made.purge for offset in range(low + 1, state.top + 1))
            assert state.top - low >= min(size, state.top)
        assert len(state.marks) <= 8


def test_old_marks_go_with_time() -> None:
    state = plan(None, 0, calls(1, size=1000, ttl=10)).state
    purges = []
    for sequence in range(1, 40):
        made = make_plan(state, sequence, calls(1, size=1000, ttl=10), {}, NOW + sequence * 1000)
        state = made.state
        purges.append(made.purge)
        assert len(state.marks) <= 8
    assert any(purges)
    assert state.lowest >= 20


@pytest.mark.parametrize(
    ("urls", "servers", "name"),
    [
        (["nats://h"], ("nats://h:4222",), "h:4222"),
        (["tls://u:p%40@h:1?replicas=3"], ("tls://u:p%40@h:1",), "h:1"),
        (["nats://token@[::1]:2", "nats://b"], ("nats://token@[::1]:2", "nats://b:4222"), "[::1]:2, b:4222"),
    ],
)
def test_address_names_servers_without_secrets(urls: list[str], servers: tuple[str, ...], name: str) -> None:
    address = Address.parse(urls)
    assert address.servers == servers
    assert address.name == name


def test_address_needs_a_url() -> None:
    with pytest.raises(HubError):
        Address.parse([])
