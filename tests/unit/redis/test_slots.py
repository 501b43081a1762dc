from __future__ import annotations

import pytest

from hub.redis.slots import SLOTS, View, best, read_view, slot_of, target

ASKED = ("asked", 7000)
SLOTS_ANSWER = [
    [0, 99, [b"10.0.0.1", 6379, b"id1", []], [b"10.0.0.4", 6379, b"id4", []]],
    [100, 16383, [b"fe80::1", 6380, b"id2", []]],
]
NODES_ANSWER = (
    b"id1 10.0.0.1:6379@16379 myself,master - 0 0 3 connected 0-99 [7->-id2] [9-<-id2]\n"
    b"id2 [fe80::1]:6380@16380 master - 0 0 4 connected 100-16383 [8->-id1]\n"
)


def test_view_tells_who_serves_each_slot_who_replicates_and_what_moves() -> None:
    view = read_view(ASKED, SLOTS_ANSWER, b"cluster_state:ok\r\ncluster_current_epoch:12\r\n", NODES_ANSWER)
    assert view.owners[99] == ("10.0.0.1", 6379)
    assert view.owners[100] == view.owners[-1] == ("fe80::1", 6380)
    assert len(view.owners) == SLOTS
    assert view.replicas == {("10.0.0.4", 6379)}
    assert (view.sound, view.epoch) == (True, 12)
    assert view.moving == {7, 9}, "what moves between others, they say themselves"


def test_slots_that_nobody_serves_stand_out() -> None:
    view = read_view(ASKED, SLOTS_ANSWER[:1], None, None)
    assert view.owners[100:] == [None] * (SLOTS - 100)


def test_refused_questions_leave_the_rest_usable() -> None:
    view = read_view(ASKED, SLOTS_ANSWER, PermissionError(), PermissionError())
    assert (view.sound, view.epoch, view.moving) == (True, 0, set())


@pytest.mark.parametrize("host", [b"", None, b"?"])
def test_node_that_does_not_name_its_host_is_where_it_was_asked(host: bytes | None) -> None:
    assert read_view(ASKED, [[0, 16383, [host, 6379, b"id", []]]], None, None).owners[0] == ("asked", 6379)
    assert target(ASKED, "?", 6379) == ("asked", 6379)


@pytest.mark.parametrize("answer", [None, b"", 7, [[0, 1]], [[0, 1, [b"h"]]], [[0, 1, [b"h", b"x"]]]])
def test_answer_that_is_none_is_an_error(answer: object) -> None:
    if answer == b"":
        assert read_view(ASKED, answer, None, None).owners == [None] * SLOTS
        return
    with pytest.raises(ValueError, match="cannot be read"):
        read_view(ASKED, answer, None, None)


def test_newest_sound_view_is_believed() -> None:
    def view(epoch: int, *, sound: bool) -> View:
        return View([], epoch=epoch, sound=sound)

    cut_off, old, new = view(9, sound=False), view(3, sound=True), view(4, sound=True)
    assert best([cut_off, old, new]) is new
    assert best([cut_off]) is cut_off
    assert best([]) is None


def test_all_names_of_a_topic_share_a_slot() -> None:
    names = [b"hub:m:{news:%7Ball%7D}", b"hub:s:{news:%7Ball%7D}", b"hub:i:{news:%7Ball%7D}:{key}"]
    assert len({slot_of(name) for name in names}) == 1
    assert slot_of(b"123456789") == 12739
