"""Whom to believe when Sentinels differ."""

from __future__ import annotations

from hub.redis.address import Address
from hub.redis.sentinel import Sentinels, _Answer
from hub.redis.sentinel_url import SentinelUrl


def told(*words: tuple[int, _Answer | str]) -> list[str]:
    """The primaries that are told, one after another, while Sentinels say this."""
    sentinels = Sentinels(SentinelUrl.parse("redis+sentinel://x,y,z?sentinel_master_name=m"))
    names: list[str] = []

    def moved(address: Address) -> None:
        assert address.primary
        names.append(address.name)

    sentinels.attach(moved)
    for at, said in words:
        sentinels._hear(at, said)
    return names


A, B = _Answer(1, "a", 6379), _Answer(2, "b", 6379)


def test_latest_election_counts_and_not_how_many_missed_it() -> None:
    assert told((0, A), (1, A), (2, A), (2, B), (0, A)) == ["a:6379", "b:6379"]


def test_silent_sentinel_is_not_believed_any_longer_while_others_speak() -> None:
    assert told((0, B), (1, A), (0, "x: no answer")) == ["b:6379", "a:6379"]


def test_last_word_stands_when_all_are_silent() -> None:
    assert told((0, A), (0, "x: no answer"), (1, "y: no answer"), (0, A)) == ["a:6379"]


def test_of_one_election_the_majority_counts_then_what_was_believed() -> None:
    other = _Answer(1, "c", 1)
    assert told((0, A), (1, other), (2, other)) == ["a:6379", "c:1"]
    assert told((0, other), (1, A)) == ["c:1"]


def test_same_primary_under_another_election_is_no_move() -> None:
    assert told((0, A), (0, _Answer(5, "a", 6379))) == ["a:6379"]
