"""Background tasks, and work that is begun without one."""

from __future__ import annotations

import asyncio

import pytest

from hub.tasks import Tasks


async def test_work_with_nothing_to_wait_for_is_done_at_once_and_without_a_task() -> None:
    tasks, done = Tasks(), []

    async def work() -> None:
        done.append(asyncio.current_task())

    assert tasks.started(work()) is None
    assert done == [asyncio.current_task()]
    assert len(tasks) == 0


async def test_work_that_hands_over_goes_on_where_its_rest_is_awaited() -> None:
    tasks, steps = Tasks(), []

    async def inner() -> None:
        await tasks.handover()
        steps.append(asyncio.current_task())
        await asyncio.sleep(0.001)
        await tasks.handover()
        steps.append(asyncio.current_task())

    async def work() -> None:
        await inner()

    async def rest() -> None:
        assert waiting is not None
        await waiting

    waiting = tasks.started(work())
    assert steps == []
    task = tasks.spawn(rest(), "rest")
    await task
    assert steps == [task, task]


async def test_what_work_raises_before_and_after_it_hands_over_is_raised() -> None:
    tasks = Tasks()

    async def early() -> None:
        raise LookupError

    async def late() -> None:
        await tasks.handover()
        raise LookupError

    with pytest.raises(LookupError):
        tasks.started(early())
    rest = tasks.started(late())
    assert rest is not None
    with pytest.raises(LookupError):
        await rest


async def test_work_begun_by_other_work_hands_over_for_itself() -> None:
    tasks, order = Tasks(), []

    async def second() -> None:
        order.append("second")

    async def first() -> None:
        assert tasks.started(second()) is None
        await tasks.handover()
        order.append("first")

    rest = tasks.started(first())
    assert rest is not None
    assert order == ["second"]
    await rest
    assert order == ["second", "first"]


async def test_work_that_waits_without_handing_over_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="handed over"):
        Tasks().started(asyncio.sleep(1))


async def test_handing_over_within_a_task_takes_no_turn() -> None:
    ran: list[int] = []
    asyncio.get_running_loop().call_soon(ran.append, 1)
    await Tasks().handover()
    assert not ran
