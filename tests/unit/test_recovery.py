"""Position arithmetic."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hub.model import HistoryPage, Position, Publication
from hub.recovery import MAX_RECORDED, Record, merge


def pubs(*offsets: int, epoch: str = "e") -> list[Publication]:
    return [Publication("t", b"%d" % offset, offset, epoch) for offset in offsets]


def page(*offsets: int, top: int, epoch: str = "e") -> HistoryPage:
    return HistoryPage(pubs(*offsets, epoch=epoch), Position(top, epoch))


def offsets(publications: list[Publication]) -> list[int]:
    return [publication.offset for publication in publications]


def test_what_was_missed_comes_in_order() -> None:
    outcome = merge(Position(2, "e"), page(3, 4, 5, top=5), [], Position(5, "e"), 300)
    assert outcome.recovered
    assert outcome.position == Position(2, "e")
    assert offsets(outcome.publications) == [3, 4, 5]


def test_what_is_in_the_page_and_arrived_meanwhile_comes_once() -> None:
    outcome = merge(Position(2, "e"), page(3, 4, top=4), pubs(4, 5), Position(5, "e"), 300)
    assert offsets(outcome.publications) == [3, 4, 5]


def test_what_the_node_has_not_delivered_yet_is_left_to_live_delivery() -> None:
    outcome = merge(Position(2, "e"), page(3, 4, 5, top=5), [], Position(4, "e"), 300)
    assert offsets(outcome.publications) == [3, 4]


def test_a_hole_is_not_recovered() -> None:
    outcome = merge(Position(2, "e"), page(4, 5, top=5), [], Position(5, "e"), 300)
    assert not outcome.recovered
    assert outcome.position == Position(5, "e")
    assert outcome.publications == []


def test_another_epoch_is_not_recovered_and_an_empty_one_matches_any() -> None:
    assert not merge(Position(0, "other"), page(1, top=1), [], Position(1, "e"), 300).recovered
    assert merge(Position(0, ""), page(1, top=1), [], Position(1, "e"), 300).recovered


def test_a_position_beyond_the_top_is_not_recovered() -> None:
    assert not merge(Position(9, "e"), page(top=3), [], Position(3, "e"), 300).recovered


def test_more_than_the_limit_is_not_recovered() -> None:
    assert merge(Position(0, "e"), page(1, 2, 3, top=3), [], Position(3, "e"), 3).recovered
    assert not merge(Position(0, "e"), page(1, 2, 3, 4, top=4), [], Position(4, "e"), 3).recovered


def test_publications_of_an_older_epoch_are_never_mixed_in() -> None:
    outcome = merge(
        Position(0, ""), page(1, top=1, epoch="new"), pubs(2, epoch="old"), Position(2, "new"), 300
    )
    assert not outcome.recovered


@given(
    since=st.integers(0, 12),
    kept_from=st.integers(1, 12),
    top=st.integers(0, 12),
    arrived=st.lists(st.integers(1, 12), max_size=8),
    live=st.integers(0, 12),
)
def test_the_outcome_is_complete_and_in_order_or_told(
    since: int, kept_from: int, top: int, arrived: list[int], live: int
) -> None:
    kept = [offset for offset in range(kept_from, top + 1) if offset > since]
    outcome = merge(Position(since, "e"), page(*kept, top=top), pubs(*arrived), Position(live, "e"), 300)
    if outcome.recovered:
        assert offsets(outcome.publications) == list(range(since + 1, live + 1))
    else:
        assert outcome.publications == []
        assert outcome.position == Position(live, "e")


def test_a_record_that_was_full_ends_for_good() -> None:
    record = Record()
    for publication in pubs(*range(1, MAX_RECORDED + 1)):
        record.add(publication)
    assert not record.full
    for publication in pubs(MAX_RECORDED + 1, MAX_RECORDED + 2):
        record.add(publication)
    assert record.full
    assert len(record.publications) == MAX_RECORDED
