from __future__ import annotations

import asyncio

import pytest

from hub.broker.base import Delivery, Gap
from hub.broker.inbox import Inbox
from hub.model import Publication


async def taken(inbox: Inbox) -> tuple[str, Delivery]:
    event = await inbox.next()
    return event.channel, event.message  # type: ignore[return-value]


def publication(raw: bytes, topic: str = "t") -> Publication:
    return Publication(topic, raw)


async def all_taken(inbox: Inbox) -> list[tuple[str, list[bytes] | str]]:
    found: list[tuple[str, list[bytes] | str]] = []
    try:
        async with asyncio.timeout(0):
            while True:
                topic, delivery = await taken(inbox)
                found.append(
                    (topic, delivery.reason if isinstance(delivery, Gap) else [each.raw for each in delivery])
                )
    except TimeoutError:
        return found


async def test_what_waits_on_a_topic_leaves_together_and_in_order() -> None:
    inbox = Inbox()
    for raw, topic in ((b"1", "a"), (b"2", "b"), (b"3", "a"), (b"4", "a")):
        inbox.put(topic, publication(raw, topic))
    assert await all_taken(inbox) == [("a", [b"1", b"3", b"4"]), ("b", [b"2"])]


async def test_gap_keeps_its_place_between_publications() -> None:
    inbox = Inbox()
    inbox.put("a", publication(b"1"))
    inbox.gap("a", "lost")
    inbox.gap("a", "lost again")
    inbox.put("a", publication(b"2"))
    assert await all_taken(inbox) == [("a", [b"1"]), ("a", "lost"), ("a", [b"2"])]


@pytest.mark.parametrize("inbox", [Inbox(max_count=3), Inbox(max_bytes=3 * 410)])
async def test_publication_without_room_makes_a_gap_of_its_topic_only(inbox: Inbox) -> None:
    inbox.put("calm", publication(b"c"))
    for number in range(3):
        inbox.put("busy", publication(b"%d" % number))
    assert inbox.overflows == 1
    inbox.put("busy", publication(b"3"))
    found = await all_taken(inbox)
    assert found[0] == ("calm", [b"c"])
    assert found[1] == ("busy", "more publications arrived than this node could take")
    assert found[2] == ("busy", [b"3"])


async def test_room_is_given_back_by_taking_and_by_discarding() -> None:
    inbox = Inbox(max_count=2)
    for _ in range(100):
        inbox.put("a", publication(b"1"))
        inbox.put("b", publication(b"2"))
        assert (await taken(inbox))[0] == "a"
        inbox.discard("b")
        inbox.discard("b")
    assert inbox.overflows == 0
    assert await all_taken(inbox) == []


async def test_full_inbox_of_others_drops_a_newcomer_with_a_gap() -> None:
    inbox = Inbox(max_count=1)
    inbox.put("a", publication(b"1"))
    inbox.put("b", publication(b"2"))
    found = await all_taken(inbox)
    assert found[0] == ("a", [b"1"])
    assert found[1][0] == "b"
    assert isinstance(found[1][1], str)


async def test_cancelled_reader_loses_nothing() -> None:
    inbox = Inbox()
    reader = asyncio.create_task(inbox.next())
    await asyncio.sleep(0)
    inbox.put("a", publication(b"1"))
    reader.cancel()
    await asyncio.wait([reader])
    assert await all_taken(inbox) == [("a", [b"1"])]


async def test_waiting_reader_is_woken() -> None:
    inbox = Inbox()
    reader = asyncio.create_task(taken(inbox))
    await asyncio.sleep(0)
    inbox.put("a", publication(b"1"))
    inbox.put("a", publication(b"2"))
    _, delivery = await reader
    assert isinstance(delivery, list)
    assert len(delivery) == 2
