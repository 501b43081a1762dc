"""Joins and leaves: gathered, in order, never lost without a word, and held back for those who return."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from hub import metrics
from hub.attendance import SETTLE_SECONDS, WINDOWS, Attendance
from hub.broker.changes import expand
from hub.errors import BrokerError
from hub.gathering import MAX_BYTES, MAX_CHANGES, Room
from hub.grace import MAX_NAMES, HeldLeave
from hub.handlers import HandlerTable, TopicRule
from hub.model import ClientInfo, Publication, TopicOptions
from hub.outbox import Tick
from hub.topics import Pattern, PatternTable
from hub.wheel import TimerWheel

GRACE = 5.0
Told = tuple[str, str]


def info(client: str, user: str = "ann", conn_info: bytes | None = None) -> ClientInfo:
    return ClientInfo(user, client, conn_info)


def dropped() -> float:
    return metrics.REGISTRY.get_sample_value("hub_dropped_publications_total", {"reason": "attendance"}) or 0


class Bench:
    """An attendance with its clock, the loop's turns, timers and the broker in the test's hands."""

    def __init__(self, *, subscribers: int = 0, room: Room | None = None, grace: int | None = None) -> None:
        self.now = 100.0
        self.subscribers = subscribers
        self.messages: list[tuple[str, list[Told]]] = []
        self.sizes: list[int] = []
        self.failure: BaseException | None = None
        self.slow: asyncio.Event | None = None
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.up = True
        self.mended = 0
        self._turns: list[Callable[[], None]] = []
        self.wheel = TimerWheel(lambda: self.now)
        told = (Pattern.parse("told:{x}"), TopicRule(TopicOptions("told:{x}", join_leave=True)))
        quiet = (Pattern.parse("quiet:{x}"), TopicRule(TopicOptions("quiet:{x}", presence=True)))
        self.attendance = Attendance(
            self._announce,
            lambda _: self.subscribers,
            table=HandlerTable(PatternTable([told, quiet])),
            tick=Tick(self._turns.append),
            wheel=self.wheel,
            ready=lambda: self.up,
            mended=lambda: self.mended,
            later=self._later,
            room=room,
            grace=grace,
        )

    async def _announce(self, topic: str, changes: bytes) -> None:
        if self.slow is not None:
            await self.slow.wait()
        if self.failure is not None:
            raise self.failure
        found = expand(Publication(topic, changes, kind="changes"))
        self.messages.append(
            (topic, [(each.kind, each.info.client) for each in found if each.info is not None])
        )
        self.sizes.append(len(changes))

    def _later(self, seconds: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        self.timers.append((seconds, call))
        return asyncio.get_running_loop().call_later(3600, call)

    def lose_broker(self) -> None:
        """From here on the broker takes nothing."""
        self.failure, self.up = BrokerError("away"), False

    def mend_broker(self) -> None:
        """The broker is back."""
        self.failure, self.up = None, True
        self.mended += 1

    async def settle(self) -> None:
        """The time has passed in which every node finds a broker that is back."""
        (index,) = [index for index, (seconds, _) in enumerate(self.timers) if seconds == SETTLE_SECONDS]
        self.timers.pop(index)[1]()
        await self.turn()

    async def turn(self) -> None:
        """Ends the loop's turn, and lets what it began come to rest."""
        while self._turns:
            self._turns.pop(0)()
        for _ in range(20):
            await asyncio.sleep(0)

    async def window(self) -> float:
        """Ends the open window; returns its length."""
        seconds, call = self.timers.pop()
        call()
        await self.turn()
        return seconds

    async def advance(self, seconds: float) -> None:
        """Moves the clock on."""
        self.now += seconds
        self.wheel.advance()
        await self.turn()

    async def lose(
        self, client: ClientInfo, names: tuple[str, ...] = (), topic: str = "told:1"
    ) -> HeldLeave | None:
        """A client's connection is lost, and presence has taken notice."""
        held = self.attendance.hold(topic, client, names, seconds=GRACE)
        self.attendance.left(topic, client, names, held)
        await self.turn()
        return held

    @property
    def told(self) -> list[Told]:
        return [change for _, changes in self.messages for change in changes]


# Gathered


async def test_what_happens_in_one_turn_on_a_topic_leaves_as_one_message_in_order() -> None:
    bench = Bench()
    for client in ("a", "b"):
        bench.attendance.joined("told:1", info(client))
    bench.attendance.joined("told:2", info("c"))
    bench.attendance.left("told:1", info("z"))
    await bench.turn()
    assert bench.messages == [
        ("told:1", [("join", "a"), ("join", "b"), ("leave", "z")]),
        ("told:2", [("join", "c")]),
    ]
    bench.attendance.left("told:1", info("a"))
    await bench.turn()
    assert bench.messages[2:] == [("told:1", [("leave", "a")])]


async def test_everything_known_of_a_client_arrives() -> None:
    raws: list[bytes] = []

    async def announce(_: str, changes: bytes) -> None:
        raws.append(changes)

    bench = Bench()
    bench.attendance._announce = announce
    whole = ClientInfo("änn", "a", b'{"n": 1}', b"[2]")
    bench.attendance.joined("told:1", whole)
    await bench.turn()
    assert expand(Publication("told:1", raws[0], kind="changes")) == [
        Publication("told:1", b"null", info=whole, kind="join")
    ]


@pytest.mark.parametrize(
    ("subscribers", "seconds"), [(0, 0.0), (50, 0.0), (51, 0.2), (1_000, 0.2), (1_001, 1.0)]
)
async def test_the_more_subscribers_the_longer_is_gathered(subscribers: int, seconds: float) -> None:
    bench = Bench(subscribers=subscribers)
    bench.attendance.joined("told:1", info("a"))
    await bench.turn()
    if not seconds:
        assert bench.told == [("join", "a")]
        return
    bench.attendance.joined("told:1", info("b"))
    await bench.turn()
    assert bench.told == []
    assert len(bench.timers) == 1
    assert await bench.window() == seconds
    assert bench.messages == [("told:1", [("join", "a"), ("join", "b")])]


async def test_who_came_and_went_within_a_window_is_told_neither() -> None:
    bench = Bench(subscribers=100)
    bench.attendance.joined("told:1", info("a"))
    bench.attendance.joined("told:1", info("b"))
    bench.attendance.left("told:1", info("a"))
    await bench.window()
    assert bench.told == [("join", "b")]
    bench.attendance.joined("told:1", info("c"))
    bench.attendance.left("told:1", info("c"))
    await bench.window()
    assert bench.told == [("join", "b")]


async def test_who_left_and_came_back_within_a_window_is_told_to_have_done_both() -> None:
    bench = Bench(subscribers=100)
    for _ in range(3):
        bench.attendance.left("told:1", info("a"))
        bench.attendance.joined("told:1", info("a"))
    await bench.window()
    assert bench.told == [("leave", "a"), ("join", "a")]


async def test_what_is_said_twice_is_told_and_counted_once() -> None:
    waiting = metrics.total(metrics.CHANGES_WAITING)
    bench = Bench(subscribers=100)
    for _ in range(3):
        bench.attendance.left("told:1", info("a"))
        bench.attendance.left("told:1", info("b"))
    assert metrics.total(metrics.CHANGES_WAITING) == waiting + 2
    await bench.window()
    assert bench.told == [("leave", "a"), ("leave", "b")]
    assert metrics.total(metrics.CHANGES_WAITING) == waiting


async def test_of_whom_others_have_said_that_it_left_nothing_is_said_but_behind_a_join_that_is_sent_again() -> (
    None
):
    bench = Bench()
    bench.attendance.joined("told:a", info("c1"))
    await bench.turn()
    bench.attendance.swept("told:a", info("c1"))
    await bench.turn()
    assert bench.messages == [("told:a", [("join", "c1")])]
    bench.lose_broker()
    bench.attendance.joined("told:a", info("c2"))
    await bench.turn()  # perhaps it was heard
    bench.attendance.joined("told:a", info("c3"))
    for client in ("c1", "c2", "c3"):
        bench.attendance.swept("told:a", info(client))
    bench.mend_broker()
    await bench.settle()
    await bench.settle()
    assert [told for _, told in bench.messages[1:]] == [[("join", "c2")], [("leave", "c2")]]


async def test_nobody_returns_in_the_place_of_one_of_whom_others_have_said_that_it_left() -> None:
    bench = Bench()
    bench.attendance.joined("told:a", info("c1"))
    held = bench.attendance.hold("told:a", info("c1"), ("c0",), seconds=GRACE)
    bench.attendance.swept("told:a", info("c1"), ("c0",), held)
    await bench.turn()
    assert bench.attendance.joined("told:a", info("c2")) == ()
    await bench.turn()
    await bench.advance(2 * GRACE)
    await bench.turn()
    said = [each for _, told in bench.messages for each in told]
    assert ("join", "c2") in said
    assert ("leave", "c0") in said
    assert ("leave", "c1") not in said


async def test_a_full_message_is_sent_before_its_time() -> None:
    bench = Bench(subscribers=WINDOWS[0][0] + 1)
    for number in range(MAX_CHANGES):
        bench.attendance.joined("told:1", info(f"c{number}"))
    await bench.turn()
    assert [len(changes) for _, changes in bench.messages] == [MAX_CHANGES]
    bench.attendance.joined("told:1", info("last"))
    await bench.window()
    assert bench.messages[1:] == [("told:1", [("join", "last")])]


async def test_messages_are_bounded_in_number_and_bytes_and_the_order_holds_over_them() -> None:
    bench = Bench()
    clients = [f"c{number}" for number in range(1_250)]
    bench.attendance.left_many(("told:1", info(client)) for client in clients)
    await bench.turn()
    assert [len(changes) for _, changes in bench.messages] == [500, 500, 250]
    assert bench.told == [("leave", client) for client in clients]
    bench.sizes.clear()
    for number in range(10):
        bench.attendance.joined("told:2", info(f"big{number}", conn_info=b"x" * 20_000))
    bench.attendance.joined("told:2", info("huge", conn_info=b"x" * 200_000))
    await bench.turn()
    assert len(bench.sizes) == 6
    assert max(bench.sizes[:-1]) <= MAX_BYTES + 2


async def test_one_message_of_a_topic_is_under_way_at_a_time_so_that_no_leave_overtakes_its_join() -> None:
    bench = Bench()
    bench.slow = asyncio.Event()
    bench.attendance.joined("told:1", info("a"))
    await bench.turn()
    bench.attendance.left("told:1", info("a"))
    await bench.turn()
    bench.attendance.joined("told:1", info("b"))
    await bench.turn()
    assert bench.messages == []
    bench.slow.set()
    await bench.turn()
    assert bench.messages == [
        ("told:1", [("join", "a")]),
        ("told:1", [("leave", "a"), ("join", "b")]),
    ]


async def test_many_at_once_are_told_only_where_the_topic_wants_it() -> None:
    bench = Bench()
    entries = [("told:1", info("a")), ("quiet:1", info("b")), ("unknown", info("c")), ("told:1", info("d"))]
    bench.attendance.joined_many(entries)
    bench.attendance.left_many([("told:2", info("e")), ("quiet:2", info("f"))])
    await bench.turn()
    assert bench.messages == [("told:1", [("join", "a"), ("join", "d")]), ("told:2", [("leave", "e")])]


# Faults


async def test_what_finds_the_broker_away_is_told_when_it_is_back() -> None:
    bench = Bench()
    bench.lose_broker()
    bench.attendance.joined("told:1", info("a"))
    bench.attendance.joined("told:2", info("x"))
    await bench.turn()
    bench.attendance.left("told:1", info("a"))
    bench.attendance.joined("told:1", info("b"))
    bench.attendance.left("told:1", info("b"))
    bench.attendance.joined("told:3", info("y"))
    await bench.turn()
    await bench.settle()
    assert bench.messages == []
    bench.mend_broker()
    await bench.settle()
    assert bench.messages == []
    await bench.settle()
    assert [changes for topic, changes in bench.messages if topic == "told:1"] == [
        [("join", "a")],
        [("leave", "a")],
    ]
    assert {topic for topic, _ in bench.messages} == {"told:1", "told:2", "told:3"}
    bench.failure = BrokerError("away for a moment")
    bench.attendance.joined("told:1", info("c"))
    await bench.turn()
    bench.failure = None
    await bench.settle()
    assert bench.told[-1] == ("join", "c")


async def test_nothing_is_told_while_other_nodes_may_not_have_found_the_broker_again() -> None:
    bench = Bench()
    bench.mend_broker()
    bench.attendance.joined("told:1", info("a"))
    await bench.turn()
    bench.mend_broker()
    bench.attendance.joined("told:2", info("b"))
    await bench.turn()
    await bench.settle()
    assert bench.messages == []
    await bench.settle()
    assert bench.told == [("join", "a"), ("join", "b")]
    bench.attendance.joined("told:3", info("c"))
    await bench.turn()
    assert bench.told[-1] == ("join", "c")


async def test_what_finds_no_room_is_counted_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(room=Room(count=3))
    bench.lose_broker()
    before = dropped()
    for number in range(5):
        bench.attendance.joined("told:1", info(f"c{number}"))
    await bench.turn()
    assert dropped() == before + 2
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 1
    bench.mend_broker()
    await bench.settle()
    await bench.settle()
    assert bench.told == [("join", f"c{number}") for number in range(3)]
    bench.attendance.joined("told:1", info("later"))
    await bench.turn()
    assert bench.told[-1] == ("join", "later")


async def test_what_waits_is_bounded_in_bytes_too() -> None:
    bench = Bench(room=Room(size=10_000))
    bench.failure = BrokerError("away")
    before = dropped()
    for number in range(5):
        bench.attendance.joined("told:1", info(f"c{number}", conn_info=b"x" * 3_000))
    await bench.turn()
    assert dropped() == before + 3


@pytest.mark.parametrize("failure", [ValueError("a fault"), BrokerError("a fault", lasting=True)])
async def test_a_message_that_cannot_be_sent_at_all_holds_up_no_other(
    failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench()
    bench.failure = failure
    before = dropped()
    bench.attendance.joined("told:1", info("a"))
    bench.attendance.joined("told:1", info("b"))
    await bench.turn()
    assert dropped() == before + 2
    assert "a fault" in caplog.text
    bench.failure = None
    bench.attendance.joined("told:1", info("c", user="\ud800"))
    bench.attendance.joined("told:1", info("d"))
    await bench.turn()
    assert bench.told == [("join", "d")]
    assert dropped() == before + 3


async def test_at_the_end_all_is_told_at_once_and_what_cannot_be_is_counted() -> None:
    bench = Bench(subscribers=100)
    await bench.lose(info("a"))
    bench.attendance.joined("told:1", info("b", user="bob"))
    await bench.attendance.close()
    assert sorted(bench.told) == [("join", "b"), ("leave", "a")]
    before = dropped()
    bench.attendance.left("told:1", info("b"))
    assert dropped() == before + 1


async def test_at_the_end_what_waits_for_a_broker_that_is_just_back_is_told() -> None:
    bench = Bench()
    bench.lose_broker()
    bench.attendance.joined("told:1", info("a"))
    await bench.turn()
    bench.mend_broker()
    await bench.attendance.close()
    assert bench.told == [("join", "a")]


async def test_at_the_end_a_broker_that_is_away_is_not_waited_for_long(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("hub.attendance.CLOSE_SECONDS", 0.01)
    waiting = metrics.total(metrics.CHANGES_WAITING)
    bench = Bench()
    bench.failure = BrokerError("away")
    before = dropped()
    for client in "ab":
        bench.attendance.joined("told:1", info(client))
    await bench.attendance.close()
    assert dropped() == before + 2
    assert "2 joins and leaves were not told" in caplog.text
    assert metrics.total(metrics.CHANGES_WAITING) == waiting


# Grace


async def test_who_returns_in_time_was_never_away_and_leaves_under_every_name() -> None:
    bench = Bench()
    bench.attendance.joined("told:1", info("a"))
    await bench.turn()
    await bench.lose(info("a"))
    await bench.advance(GRACE - 1)
    names = bench.attendance.joined("told:1", info("b"))
    assert names == ("a",)
    await bench.lose(info("b"), names)
    names = bench.attendance.joined("told:1", info("c"))
    assert names == ("a", "b")
    await bench.advance(10 * GRACE)
    assert bench.told == [("join", "a")]
    bench.attendance.left("told:1", info("c"), names)
    await bench.turn()
    assert bench.told[1:] == [("leave", "a"), ("leave", "b"), ("leave", "c")]


async def test_who_does_not_return_in_time_has_left_once_under_every_name() -> None:
    bench = Bench()
    await bench.lose(info("b"), ("a",))
    await bench.advance(GRACE - 0.5)
    assert bench.told == []
    await bench.advance(1)
    assert bench.told == [("leave", "a"), ("leave", "b")]
    assert bench.attendance.joined("told:1", info("c")) == ()
    await bench.advance(10 * GRACE)
    assert bench.told[2:] == [("join", "c")]


async def test_a_return_before_presence_has_let_the_client_go_is_a_return() -> None:
    bench = Bench()
    held = bench.attendance.hold("told:1", info("a"), seconds=GRACE)
    assert bench.attendance.joined("told:1", info("b")) == ("a",)
    bench.attendance.left("told:1", info("a"), (), held)
    await bench.advance(10 * GRACE)
    assert bench.told == []


async def test_a_leave_is_not_told_before_presence_has_let_the_client_go() -> None:
    bench = Bench()
    held = bench.attendance.hold("told:1", info("a"), seconds=GRACE)
    await bench.advance(2 * GRACE)
    assert bench.told == []
    bench.attendance.left("told:1", info("a"), (), held)
    await bench.turn()
    assert bench.told == [("leave", "a")]


async def test_each_of_a_users_clients_returns_in_the_place_of_one() -> None:
    bench = Bench()
    await bench.lose(info("a"))
    await bench.lose(info("b"))
    await bench.lose(info("x", user="bob"))
    await bench.lose(info("y"), topic="told:2")
    assert bench.attendance.joined("told:1", info("c")) == ("a",)
    assert bench.attendance.joined("told:1", info("d")) == ("b",)
    assert bench.attendance.joined("told:1", info("e")) == ()
    await bench.turn()
    assert bench.told == [("join", "e")]


async def test_the_same_client_that_subscribes_again_in_time_keeps_its_one_name() -> None:
    bench = Bench()
    await bench.lose(info("a"))
    assert bench.attendance.joined("told:1", info("a")) == ()
    await bench.advance(10 * GRACE)
    assert bench.told == []


async def test_a_user_who_returns_looking_otherwise_is_shown_anew_and_never_absent() -> None:
    bench = Bench()
    await bench.lose(info("a", conn_info=b'"Ann"'))
    assert bench.attendance.joined("told:1", info("b", conn_info=b'"Anna"')) == ()
    await bench.advance(10 * GRACE)
    assert bench.messages == [("told:1", [("join", "b"), ("leave", "a")])]


async def test_names_are_bounded() -> None:
    bench = Bench()
    names: tuple[str, ...] = ()
    for number in range(MAX_NAMES):
        await bench.lose(info(f"c{number}"), names)
        names = bench.attendance.joined("told:1", info(f"c{number + 1}"))
    assert len(names) == MAX_NAMES
    assert bench.told == []
    await bench.lose(info(f"c{MAX_NAMES}"), names)
    assert bench.attendance.joined("told:1", info("new")) == ()
    await bench.turn()
    assert bench.told == [("join", "new"), *(("leave", f"c{number}") for number in range(MAX_NAMES + 1))]


async def test_nobody_waits_for_whom_nobody_knows() -> None:
    bench = Bench()
    assert await bench.lose(info("a", user="")) is None
    assert bench.told == [("leave", "a")]


async def test_held_leaves_are_bounded_and_the_oldest_is_told_early() -> None:
    bench = Bench(grace=2)
    held = metrics.total(metrics.HELD_LEAVES)
    for client in "abc":
        await bench.lose(info(client, user=client))
    assert bench.told == [("leave", "a")]
    assert metrics.total(metrics.HELD_LEAVES) == held + 2
    await bench.advance(2 * GRACE)
    assert bench.told == [("leave", "a"), ("leave", "b"), ("leave", "c")]
    assert metrics.total(metrics.HELD_LEAVES) == held


async def test_who_comes_long_after_the_link_was_mended_is_told_of_at_once() -> None:
    bench = Bench()
    bench.attendance.watch()
    bench.mend_broker()
    await bench.advance(2 * SETTLE_SECONDS + 1)
    await bench.advance(SETTLE_SECONDS + 1)
    bench.attendance.joined("told:1", info("a"))
    await bench.turn()
    assert bench.told == [("join", "a")]


async def test_who_comes_right_after_the_link_was_mended_waits_until_every_node_has_found_it() -> None:
    bench = Bench()
    bench.attendance.watch()
    await bench.advance(2 * SETTLE_SECONDS + 1)
    bench.mend_broker()
    bench.attendance.joined("told:1", info("a"))
    await bench.turn()
    assert bench.told == []
    await bench.settle()
    assert bench.told == [("join", "a")]
