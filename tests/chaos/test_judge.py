"""The judge itself: an honest history passes whatever it was told, and no lie passes."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.history import Ended, Event, History, Received, Sent, Subscribed, load, save
from tests.chaos.judge import judge
from tests.chaos.mutants import MUTANTS, mutated


def honest(steps: list[str], subscribers: int = 2) -> History:
    """What an honest hub leaves behind: publications, cuts with and without recovery, and losses of all it knew."""
    history = History("made up", "none", 0, top=("a", 0))
    history.logs = {f"s{number}": [Subscribed(0, "a", 0)] for number in range(subscribers)}
    seen = dict.fromkeys(history.logs, 0)
    epoch, top, now, kept = "a", 0, 1.0, list[tuple[int, int]]()

    def catch_up(name: str) -> None:
        log = history.logs[name]
        log.extend(Received(now, epoch, offset, number) for offset, number in kept if offset > seen[name])
        seen[name] = top

    for step in steps:
        now += 1
        if step == "publish":
            top += 1
            number = len(history.sent) + 1
            history.sent.append(Sent(number, "p", now, now + 0.5, "acked", epoch=epoch, offset=top))
            kept.append((top, number))
            catch_up("s0")
        elif step == "cut":
            history.logs["s1"] += [Ended(now, "disconnect 1006"), Subscribed(now, epoch, seen["s1"], True)]
            catch_up("s1")
        elif step == "told":
            history.logs["s1"] += [Ended(now, "disconnect 1006"), Subscribed(now, epoch, top)]
            seen["s1"] = top
        else:
            epoch, top, kept = epoch + "a", 0, []
            for name, log in history.logs.items():
                log += [Ended(now, "unsubscribe 2500"), Subscribed(now, epoch, 0)]
                seen[name] = 0
    catch_up("s1")
    history.top, history.kept = (epoch, top), kept
    return history


STEPS = ["publish"] * 5 + ["cut", "publish", "told", "publish", "lose all"] + ["publish"] * 4


def test_an_honest_history_passes_and_what_was_told_is_counted() -> None:
    verdict = judge(honest(STEPS))
    assert verdict.honest, verdict
    # Of seven before the loss the second subscriber is told of one; nobody waits for it at the first.
    assert (verdict.acked, verdict.received, verdict.told, verdict.tellings) == (11, 20, 2, 3)


@given(st.lists(st.sampled_from(["publish", "publish", "cut", "told", "lose all"]), max_size=40))
def test_every_honest_history_passes(steps: list[str]) -> None:
    verdict = judge(honest(steps))
    assert verdict.honest, verdict


@pytest.mark.parametrize("name", MUTANTS)
@given(
    seed=st.integers(0, 10**6),
    steps=st.lists(st.sampled_from(["publish", "cut", "told", "lose all"]), max_size=20),
)
def test_no_mutant_of_an_honest_history_passes(name: str, seed: int, steps: list[str]) -> None:
    mutant, count = MUTANTS[name]
    verdict = judge(mutated(honest(["publish"] * 3 + steps), mutant, random.Random(seed)))
    assert not verdict.honest
    assert getattr(verdict, count) > 0, verdict


def small(log: list[Event], **outcomes: str) -> History:
    """Three publications, acknowledged unless said otherwise, and one subscriber."""
    sent = [Sent(n, "p", n, n + 0.5, "acked", epoch="a", offset=n) for n in (1, 2, 3)]
    for name, outcome in outcomes.items():
        found = sent[int(name.removeprefix("n")) - 1]
        found.outcome, found.epoch, found.offset = outcome, "", 0  # type: ignore[assignment]
    return History("", "", 0, sent, {"s": log}, ("a", 3), [(n, n) for n in (1, 2, 3)])


def got(*offsets: int, epoch: str = "a") -> list[Event]:
    return [Received(10 + n, epoch, n, n) for n in offsets]


def test_the_tail_counts_although_nothing_follows_it() -> None:
    assert judge(small([Subscribed(0, "a", 0), *got(1, 2)])).lost == 1


def test_being_said_to_be_recovered_further_than_one_had_come_is_a_loss() -> None:
    verdict = judge(small([Subscribed(0, "a", 0), *got(1), Subscribed(5, "a", 2, True), *got(3)]))
    assert (verdict.lost, verdict.told) == (1, 0)


def test_being_recovered_into_another_epoch_is_a_loss() -> None:
    history = small([Subscribed(0, "b", 0), *got(1, epoch="b"), Subscribed(5, "a", 0, True), *got(1, 2, 3)])
    assert judge(history).lost > 0


def test_another_epoch_without_a_word_is_a_loss() -> None:
    assert judge(small([Subscribed(0, "b", 0), *got(1, 2, 3)])).lost > 0


def test_an_end_in_an_epoch_that_is_over_is_a_loss() -> None:
    assert judge(small([Subscribed(0, "b", 3)])).lost == 3


def test_who_never_got_a_subscription_lost_everything() -> None:
    assert judge(small([])).lost == 3


def test_being_sent_away_for_good_is_no_honest_end() -> None:
    assert not judge(small([Subscribed(0, "a", 0), *got(1, 2, 3), Ended(20, "disconnect 3500", True)])).honest


def test_an_unknown_publication_may_come_or_not() -> None:
    assert judge(small([Subscribed(0, "a", 0), *got(1, 2, 3)], n2="unknown")).honest


def test_a_failed_publication_must_not_come() -> None:
    assert judge(small([Subscribed(0, "a", 0), *got(1, 2, 3)], n2="failed")).invented == 1


def test_a_publication_that_nobody_sent_must_not_come() -> None:
    history = small([Subscribed(0, "a", 0), *got(1, 2, 3), Received(20, "a", 4, 9)])
    history.top = ("a", 4)
    assert judge(history).invented == 1


def test_an_acknowledged_publication_that_the_hub_does_not_hold_is_lost() -> None:
    history = small([Subscribed(0, "a", 0), *got(1, 3)])
    history.kept = [(1, 1), (3, 3)]
    assert judge(history).lost >= 2


def test_two_publications_acknowledged_at_one_place_are_a_loss() -> None:
    history = small([Subscribed(0, "a", 0), *got(1, 2, 3)])
    history.sent.append(Sent(4, "p", 5, 6, "acked", epoch="a", offset=3))
    assert judge(history).lost == 1


def test_one_sent_after_anothers_acknowledgement_must_stand_behind_it() -> None:
    history = small([Subscribed(0, "a", 0), *got(1, 2, 3)])
    history.sent[0].started, history.sent[0].ended = 8.0, 8.5
    assert judge(history).reordered == 1


def again(attempts: int, epoch: str) -> History:
    """The first publication comes again at the end, perhaps in a new epoch of which the subscriber was told."""
    top = 4 if epoch == "a" else 1
    told: list[Event] = [] if epoch == "a" else [Subscribed(15, epoch, 0)]
    history = small([Subscribed(0, "a", 0), *got(1, 2, 3), *told, Received(20, epoch, top, 1)])
    history.sent[0].attempts = attempts
    history.sent[0].ended = 30
    history.top, history.kept = (epoch, top), []
    return history


def test_a_repeated_publication_comes_twice_only_if_the_hub_lost_its_memory() -> None:
    assert judge(again(2, "b")).honest
    assert judge(again(2, "a")).duplicated == 1
    assert judge(again(1, "b")).duplicated == 1


def test_a_history_is_judged_alike_after_a_file(tmp_path: Path) -> None:
    history = mutated(honest(STEPS), MUTANTS["drop"][0], random.Random(1))
    save(history, tmp_path / "kept" / "history.json")
    assert load(tmp_path / "kept" / "history.json") == history
    assert judge(load(tmp_path / "kept" / "history.json")) == judge(history)
