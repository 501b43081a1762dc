"""Subscribers of a topic with filters or differences, beside those without."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub import metrics
from hub.broker.changes import encode_change, encode_changes
from hub.handlers import TopicRule
from hub.live import LiveTopic, Subscription
from hub.model import ClientInfo, HistoryOptions, Position, Publication, SlowPolicy, TopicOptions
from hub.outbox import Outbox, Tick, Unit
from hub.protocol import deltas, fossil, wires
from hub.protocol.deltas import Deltas
from hub.recovery import Recovered
from hub.tags import TagFilter, read_filter

LONG = json.dumps([{"n": n, "text": f"row number {n}"} for n in range(40)])


class Counting(wires.JsonText):
    """The protocol's wire, counting what it encodes and joins."""

    def __init__(self) -> None:
        self.encoded = 0
        self.joined = 0

    def publication(self, topic: str, publication: Publication) -> bytes:
        self.encoded += 1
        return super().publication(topic, publication)

    def alone(self, topic: str, publication: Publication) -> bytes:
        self.encoded += 1
        self.joined += 1
        return super().alone(topic, publication)

    def join(self, pieces: list[bytes]) -> bytes:
        self.joined += 1
        return super().join(pieces)


class Client:
    """A transport, an owner, and what an SDK makes of the frames."""

    socket = None

    def __init__(self, bench: Bench, wire: Counting, *, delta: bool = False, filter: str = "") -> None:  # noqa: A002
        self.bench = bench
        self.frames = 0
        self.pushes: list[dict[str, Any]] = []
        self.payloads: list[str] = []
        self.missed = 0
        self.waiting = 0
        self._base = b""
        self._delta = delta
        self.subscription = Subscription(
            "t",
            self,
            Outbox(self, wire, bench.tick, 1_000),
            bench.topic.rule.options,
            delta=delta,
            filter=read_filter(filter.encode()) if filter else None,
        )

    def write(self, unit: Unit) -> None:
        assert isinstance(unit, bytes)
        self.frames += 1
        for line in unit.split(b"\n"):
            (kind, body), *_ = [pair for pair in json.loads(line)["push"].items() if pair[0] != "channel"]
            self.pushes.append({"kind": kind, **body})
            if kind == "pub":
                self.payloads.append(self.read(body) if self._delta else json.dumps(body["data"]))

    def read(self, body: dict[str, Any]) -> str:
        text = body["data"].encode()
        self._base = fossil.apply(self._base, text) if body.get("delta") else text
        return self._base.decode()

    def buffered(self) -> int:
        return self.waiting

    def close(self, code: int, reason: str) -> None: ...

    def abort(self) -> None: ...

    def ping(self) -> bool:
        return True

    def pause_reading(self, paused: bool) -> None: ...

    def insufficient(self, topic: str) -> None:
        self.missed += 1

    def forms(self) -> list[bool]:
        return [push.get("delta", False) for push in self.pushes if push["kind"] == "pub"]


class Bench:
    """A topic, its tick by hand, and publications with a payload of their own."""

    def __init__(self, *, slow: SlowPolicy = "disconnect", at_once: int = 1_000, slices: int = 100) -> None:
        self.turns: list[Callable[[], None]] = []
        self.tick = Tick(self.turns.append, lambda: 0.0, at_once=at_once, smallest_slice=slices)
        options = TopicOptions("t", history=HistoryOptions(100, 60), slow=slow, conflate="id")
        self.deltas = Deltas()
        self.topic = LiveTopic("t", TopicRule(options), self.tick, self.deltas)
        self.topic.release(Position(0, "e"))
        self.wire = Counting()

    def client(self, *, delta: bool = False, filter: str = "", wire: Counting | None = None) -> Client:  # noqa: A002
        client = Client(self, wire or self.wire, delta=delta, filter=filter)
        self.topic.add(client.subscription)
        return client

    def publish(self, *texts: str, tags: dict[str, str] | None = None) -> None:
        for text in texts:
            offset = self.topic.offset + 1
            assert self.topic.accept([Publication("t", text.encode(), offset, "e", tags=tags)])

    def turn(self) -> None:
        turns, self.turns[:] = list(self.turns), []
        for call in turns:
            call()


def text(number: int) -> str:
    return LONG.replace("number 20", f"number {number}")


def test_the_first_is_whole_and_the_next_are_differences() -> None:
    bench = Bench()
    client = bench.client(delta=True)
    bench.publish(text(1), text(2))
    bench.turn()
    bench.publish(text(3))
    bench.turn()
    assert client.payloads == [text(1), text(2), text(3)]
    assert client.forms() == [False, True, True]


def test_a_difference_is_made_and_encoded_once_for_all_who_want_it() -> None:
    bench = Bench()
    clients = [bench.client(delta=True) for _ in range(50)]
    plain = bench.client()
    for number in range(3):
        bench.publish(text(number))
        bench.turn()
    assert all(client.payloads == [text(0), text(1), text(2)] for client in clients)
    assert plain.payloads == clients[0].payloads
    assert bench.deltas.made == 2
    assert bench.wire.encoded == 2 * 3


def test_a_newcomer_is_told_whole_while_others_go_on() -> None:
    bench = Bench()
    old = bench.client(delta=True)
    bench.publish(text(1))
    bench.turn()
    new = bench.client(delta=True)
    bench.publish(text(2), text(3))
    bench.turn()
    bench.publish(text(4))
    bench.turn()
    assert (old.forms(), new.forms()) == ([False, True, True, True], [False, True, True])
    assert new.payloads == [text(2), text(3), text(4)]


def test_a_newcomer_in_the_middle_of_a_turn_gets_what_follows_it() -> None:
    bench = Bench()
    old = bench.client(delta=True)
    bench.publish(text(1))
    new = bench.client(delta=True)
    bench.publish(text(2))
    bench.turn()
    assert (old.payloads, new.payloads) == ([text(1), text(2)], [text(2)])


def test_joins_leave_a_newcomer_new() -> None:
    bench = Bench()
    client = bench.client(delta=True)
    bench.topic.accept([Publication("t", b"null", kind="join")])
    bench.turn()
    bench.publish(text(1))
    bench.turn()
    assert [push["kind"] for push in client.pushes] == ["join", "pub"]
    assert client.forms() == [False]


def test_joins_and_leaves_in_one_message_are_pushes_of_their_own_in_one_frame_encoded_once_for_all() -> None:
    bench = Bench()
    clients = [
        bench.client(),
        bench.client(),
        bench.client(delta=True),
        bench.client(filter='{"key": "t", "cmp": "ex"}'),
    ]
    bench.publish(text(1))
    told = [encode_change("join", ClientInfo("ann", f"c{number}")) for number in range(3)]
    told.append(encode_change("leave", ClientInfo("bob", "b")))
    bench.topic.accept([Publication("t", encode_changes(told), kind="changes")])
    before = bench.wire.encoded
    bench.turn()
    for client in clients:
        assert client.frames == 1
        assert [push["info"]["client"] for push in client.pushes if push["kind"] == "join"] == [
            "c0",
            "c1",
            "c2",
        ]
        assert [push["kind"] for push in client.pushes][-1] == "leave"
    # Once for the plain ones, once for those with differences, once for the filter, which admits no publication.
    assert bench.wire.encoded - before == 5 + 5 + 4
    bench.publish(text(2))
    bench.turn()
    assert clients[2].forms() == [False, True]


def test_joins_and_leaves_that_cannot_be_read_are_counted_and_harm_nothing() -> None:
    bench = Bench()
    client = bench.client()
    dropped = metrics.DROPPED.labels("unreadable")
    before = metrics.total(dropped)
    bench.topic.accept([Publication("t", b"[7]", kind="changes")])
    bench.publish("1")
    bench.turn()
    assert [push["kind"] for push in client.pushes] == ["pub"]
    assert metrics.total(dropped) == before + 1


def test_publications_without_history_count_too() -> None:
    bench = Bench()
    client = bench.client(delta=True)
    bench.publish(text(1))
    bench.topic.accept([Publication("t", text(2).encode())])
    bench.publish(text(3))
    bench.turn()
    assert client.payloads == [text(1), text(2), text(3)]


def test_what_was_missed_is_a_chain_and_shared_with_what_went_out_live() -> None:
    bench = Bench()
    bench.client(delta=True)
    missed = [Publication("t", text(number).encode(), number, "e") for number in (1, 2, 3)]
    bench.publish(text(1), text(2), text(3))
    bench.turn()
    client = bench.client(delta=True)
    outcome = bench.topic.recovered(client.subscription, Recovered(True, Position(0, "e"), missed))
    told = json.loads(wires.JSON_TEXT.join([b"[%s]" % b",".join(map(_body, outcome.publications))]))
    assert [found.get("delta", False) for found in told] == [False, True, True]
    assert [client.read(found) for found in told] == [text(1), text(2), text(3)]
    assert bench.deltas.made == 2
    bench.publish(text(4))
    bench.turn()
    assert client.payloads == [text(4)]


def _body(publication: Publication) -> bytes:
    return b'{"data":%s%s}' % (
        publication.raw,
        b',"delta":true' if isinstance(publication, deltas.Difference) else b"",
    )


def test_a_slow_client_goes_on_from_what_waited_for_it() -> None:
    bench = Bench(slow="drop_oldest")
    client = bench.client(delta=True)
    bench.publish(text(1))
    bench.turn()
    client.waiting = 500
    bench.publish(text(2), text(3))
    bench.turn()
    client.waiting = 0
    client.subscription.outbox.drained()
    bench.publish(text(4))
    bench.turn()
    assert client.payloads == [text(1), text(2), text(3), text(4)]
    assert client.forms() == [False, False, True, True]


def test_a_slow_client_with_a_filter_drops_nothing_that_it_would_not_see() -> None:
    bench = Bench(slow="drop_oldest")
    client = bench.client(filter='{"key": "t", "cmp": "eq", "val": "a"}')
    client.waiting = 500
    bench.publish("1", tags={"t": "a"})
    for number in range(300):
        bench.publish(str(number), tags={"t": "b"})
        bench.turn()
    client.waiting = 0
    client.subscription.outbox.drained()
    assert (client.payloads, client.missed) == (["1"], 0)


def test_a_filter_selects_and_the_position_goes_on() -> None:
    bench = Bench()
    some = bench.client(filter='{"key": "t", "cmp": "eq", "val": "a"}')
    every = bench.client()
    bench.publish("1", tags={"t": "b"})
    bench.publish("2", tags={"t": "a"})
    bench.turn()
    bench.publish("3")
    bench.topic.accept([Publication("t", b"null", kind="join")])
    bench.turn()
    assert [(push["kind"], push.get("offset")) for push in some.pushes] == [("pub", 2), ("join", None)]
    assert every.payloads == ["1", "2", "3"]
    assert bench.topic.offset == 3


def test_a_filter_is_asked_once_for_all_who_have_it() -> None:
    bench = Bench()
    found = read_filter(b'{"key": "t", "cmp": "ex"}')
    assert found is not None
    asked: list[object] = []
    spying = TagFilter(found.node, lambda tags: bool(asked.append(tags)) or "t" in tags)
    first = Client(bench, bench.wire)
    first.subscription.filter = spying
    bench.topic.add(first.subscription)
    others = [
        bench.client(filter='{"cmp": "ex", "key": "t"}', wire=wire) for wire in (bench.wire, Counting())
    ]
    bench.publish("1", "2", tags={"t": ""})
    bench.turn()
    assert len(asked) == 2
    assert [client.payloads for client in (first, *others)] == [["1", "2"]] * 3


def test_different_filters_that_select_the_same_share_the_bytes() -> None:
    bench = Bench()
    clients = [
        bench.client(filter=f'{{"key": "n", "cmp": "lt", "val": "{bound}"}}') for bound in range(1, 21)
    ]
    bench.publish("1", tags={"n": "0.5"})
    bench.turn()
    assert all(client.payloads == ["1"] for client in clients)
    assert (bench.wire.encoded, bench.wire.joined) == (1, 1)


def test_a_missed_list_is_filtered_and_what_is_left_out_is_not_asked_for_again() -> None:
    bench = Bench()
    bench.publish("1", "2")
    bench.turn()
    client = bench.client(filter='{"key": "t", "cmp": "ex"}')
    missed = [
        Publication("t", b"1", 1, "e", tags={"t": "x"}),
        Publication("t", b"2", 2, "e"),
    ]
    start = Position(0, "e")
    outcome = bench.topic.recovered(client.subscription, Recovered(True, start, missed))
    assert (outcome.recovered, outcome.position, outcome.publications) == (True, start, missed[:1])
    outcome = bench.topic.recovered(client.subscription, Recovered(True, Position(1, "e"), missed[1:]))
    assert (outcome.recovered, outcome.position, outcome.publications) == (True, Position(2, "e"), [])


def test_who_leaves_is_forgotten_whatever_form_it_had() -> None:
    bench = Bench()
    clients = [bench.client(), bench.client(delta=True), bench.client(filter='{"key": "t", "cmp": "ex"}')]
    bench.publish(text(1), tags={"t": ""})
    bench.turn()
    clients.append(bench.client(delta=True))
    assert bench.topic.count() == len(bench.topic.subscribers()) == 4
    for client in clients:
        bench.topic.discard(client.subscription)
        bench.topic.discard(client.subscription)
    bench.publish(text(2), tags={"t": ""})
    bench.turn()
    assert bench.topic.count() == len(bench.topic.subscribers()) == 0
    assert bench.topic._views is None
    assert [len(client.payloads) for client in clients] == [1, 1, 1, 0]


FILTER = '{"key": "n", "cmp": "ex"}'
FORMS: dict[int, dict[str, Any]] = {0: {}, 1: {"delta": True}, 2: {"filter": FILTER}}
step = st.one_of(
    st.tuples(st.just("publish"), st.text(alphabet="ab ж日🎈", max_size=8), st.integers(0, 39)),
    st.tuples(st.just("join"), st.just(""), st.integers(0, 5)),
    st.tuples(st.just("leave"), st.just(""), st.integers(0, 9)),
    st.tuples(st.just("turn"), st.just(""), st.just(0)),
)


@pytest.mark.parametrize(("at_once", "slices"), [(1_000, 100), (4, 1), (0, 1), (0, 3)])
@settings(deadline=None)
@given(steps=st.lists(step, max_size=40))
def test_every_client_reads_exactly_what_was_published_since_it_came(
    at_once: int, slices: int, steps: list[tuple[str, str, int]]
) -> None:
    bench = Bench(at_once=at_once, slices=slices)
    kinds = (bench.wire, Counting())
    content = [{"n": n, "text": f"row number {n}"} for n in range(40)]
    present: list[tuple[Client, list[str]]] = []
    for action, word, number in steps:
        if action == "publish":
            content[number]["text"] = word
            payload = json.dumps(content)
            tags = {"n": ""} if number % 3 else None
            bench.publish(payload, tags=tags)
            for client, expected in present:
                if tags is not None or client.subscription.filter is None:
                    expected.append(payload)
        elif action == "join":
            present.append((bench.client(wire=kinds[number % 2], **FORMS[number // 2]), []))
        elif action == "leave" and number < len(present):
            client, expected = present.pop(number)
            bench.topic.discard(client.subscription)
            told = client.payloads.copy()
            assert told == expected[: len(told)]
            bench.turn()
            assert client.payloads == told
        else:
            bench.turn()
        assert bench.topic.count() == len(bench.topic.subscribers()) == len(present)
    while bench.turns:
        bench.turn()
    assert bench.tick.waiting == 0
    for client, expected in present:
        assert client.payloads == expected
