"""What is revoked, as one node holds it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import pytest
from msgspec import structs

from hub.auth.revocable import key_of, revocable
from hub.auth.revocations import LIFTED_SECONDS, MAX_SUBJECT_BYTES, Revocations, lifted, place
from hub.errors import ReplyError
from hub.model import Identity, Revocation
from tests.unit.auth.forging import Clock


def entry(kind: Any = "user", subject: str = "ann", changed: int = 1, **more: Any) -> Revocation:
    return Revocation(kind, subject, changed, **more)


def _who(claims: Mapping[str, Any]) -> Identity:
    return Identity(user=claims.get("sub", ""), claims=claims)


@pytest.fixture
def revocations(clock: Clock) -> Revocations:
    return Revocations(100, clock)


def test_a_token_is_refused_by_its_id_its_user_or_its_age_and_no_other_is(revocations: Revocations) -> None:
    revocations.merge(
        [
            entry("token", "t1"),
            entry("user", "bob"),
            entry("before", "cid", issued_before=100.0),
            entry("before", "", issued_before=10.0),
        ]
    )
    refused = [
        {"jti": "t1", "sub": "ann", "iat": 500},
        {"sub": "bob", "iat": 500},
        {"sub": "cid", "iat": 99},
        {"sub": "dan", "iat": 9},
        {"sub": "dan"},
        {"sub": "dan", "iat": "500"},
        {"sub": "dan", "iat": True},
        {"iat": 9},
    ]
    good = [
        {"jti": "t2", "sub": "ann", "iat": 10},
        {"jti": "bob", "sub": "t1", "iat": 10},
        {"sub": "cid", "iat": 100},
        {"iat": 10.5},
    ]
    assert [claims for claims in refused if not revocations.refuse(_who(claims))] == []
    assert [claims for claims in good if revocations.refuse(_who(claims))] == []


def test_a_token_that_claims_to_come_from_far_ahead_is_as_old_as_one_that_says_nothing(
    revocations: Revocations, clock: Clock
) -> None:
    now = clock()
    ahead = [now + 86_500, now * 1_000, 1e300]
    assert not any(revocations.refuse(_who({"sub": "ann", "iat": iat})) for iat in ahead)
    revocations.merge([entry("before", "ann", issued_before=now - 5)])
    assert all(revocations.refuse(_who({"sub": "ann", "iat": iat})) for iat in ahead)
    assert not any(revocations.refuse(_who({"sub": "ann", "iat": iat})) for iat in (now, now + 300))
    assert not any(revocations.refuse(_who({"sub": "bob", "iat": iat})) for iat in ahead)


def test_an_id_that_is_a_number_is_known_by_its_digits(revocations: Revocations) -> None:
    revocations.merge([entry("token", "7")])
    assert revocations.refuse(_who({"jti": 7, "sub": "ann"}))


def test_nothing_is_refused_where_nothing_is_revoked(revocations: Revocations) -> None:
    assert not revocations.refuse(_who({"jti": "t1", "sub": "ann"}))
    assert not revocations.bar("ann", "chat:1")


def test_a_user_is_barred_from_that_topic_alone_and_the_token_stays_good(revocations: Revocations) -> None:
    revocations.merge([entry("topic", "ann", topic="chat:1")])
    assert revocations.bar("ann", "chat:1")
    assert not revocations.bar("ann", "chat:2")
    assert not revocations.bar("bob", "chat:1")
    assert not revocations.refuse(_who({"sub": "ann"}))


def test_an_entry_holds_until_its_end_and_is_then_forgotten(revocations: Revocations, clock: Clock) -> None:
    revocations.merge(
        [entry("token", "t1", until=clock() + 60), entry("topic", "ann", topic="chat:1", until=clock() + 60)]
    )
    assert revocations.refuse(_who({"jti": "t1"}))
    clock.now += 60
    assert not revocations.refuse(_who({"jti": "t1"}))
    assert not revocations.bar("ann", "chat:1")
    assert len(revocations) == 2
    revocations.purge()
    assert len(revocations) == 0


def test_the_bound_makes_room_only_by_what_is_over(clock: Clock) -> None:
    revocations = Revocations(2, clock)
    revocations.merge([entry("token", "t1", until=clock() + 60), entry("token", "t2")])
    assert revocations.full("token")
    clock.now += 60
    assert not revocations.full("token")
    assert revocations.refuse(_who({"jti": "t2"}))


def test_what_was_lifted_is_not_in_force_and_an_older_word_cannot_bring_it_back(
    revocations: Revocations, clock: Clock
) -> None:
    [old] = revocations.merge([entry(changed=int(clock() * 1_000) + 5_000)])
    gone = lifted(old, clock())
    assert gone.changed > old.changed
    revocations.merge([gone])
    assert not revocations.refuse(_who({"sub": "ann"}))
    assert revocations.merge([old]) == []
    assert list(revocations) == []
    revocations.merge([structs.replace(old, changed=gone.changed + 1)])
    assert revocations.refuse(_who({"sub": "ann"}))
    revocations.merge([lifted(structs.replace(old, changed=gone.changed + 1), clock())])
    clock.now += LIFTED_SECONDS
    revocations.purge()
    assert len(revocations) == 0


def test_of_two_that_are_in_force_the_stricter_holds(revocations: Revocations, clock: Clock) -> None:
    ends = clock() + 60
    revocations.merge([entry("before", "ann", 5, issued_before=100.0, until=ends)])
    revocations.merge([entry("before", "ann", 9, issued_before=50.0, until=ends - 30)])
    assert list(revocations) == [entry("before", "ann", 9, issued_before=100.0, until=ends)]
    revocations.merge([entry("before", "ann", 3, issued_before=1.0)])
    assert list(revocations) == [entry("before", "ann", 9, issued_before=100.0)]


def test_nodes_agree_whatever_order_the_letters_come_in(clock: Clock) -> None:
    first = entry(changed=1, until=clock() + 9_000)
    words = [
        first,
        structs.replace(first, changed=3, lifted=True),
        structs.replace(first, changed=3),
        entry(changed=2),
    ]
    digests = set()
    for order in itertools.permutations(words):
        node = Revocations(100, clock)
        for word in (*order, *order):
            node.merge([word])
        assert node.refuse(_who({"sub": "ann"}))
        digests.add(node.find(first.key).changed)  # type: ignore[union-attr]
    assert digests == {3}


def test_a_digest_is_equal_for_the_same_and_differs_for_what_changed(clock: Clock) -> None:
    one, two = Revocations(100, clock), Revocations(100, clock)
    words = [entry("token", f"t{number}", number) for number in range(50)]
    one.merge(words)
    two.merge(reversed(words))
    assert one.digest() == two.digest() != Revocations(100, clock).digest()
    two.merge([lifted(words[7], clock())])
    assert one.digest() != two.digest()


def test_pages_hold_everything_once_however_much_it_is(clock: Clock) -> None:
    revocations = Revocations(10_000, clock)
    words = [entry("token", f"{number}-{'x' * 900}", number // 3) for number in range(1_000)]
    revocations.merge(words)
    found, after = [], None
    while page := revocations.page(after):
        found += page
        after = place(page[-1])
    assert len(found) == 1_000
    assert {each.key for each in found} == {each.key for each in words}


@pytest.mark.parametrize(
    ("asked", "key"),
    [
        ({"user": "ann"}, ("user", "ann", "")),
        ({"token_id": "t1"}, ("token", "t1", "")),
        ({"issued_before": 5.0}, ("before", "", "")),
        ({"issued_before": 5.0, "user": "ann"}, ("before", "ann", "")),
        ({"user": "ann", "topic": "chat:1"}, ("topic", "ann", "chat:1")),
    ],
)
def test_what_is_meant_is_read_from_what_is_given(asked: dict[str, Any], key: tuple[str, str, str]) -> None:
    assert revocable(100.0, **asked).key == key
    dated = {"dated": True} if asked.pop("issued_before", None) else {}
    assert key_of(**asked, **dated) == key


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "say what to revoke"),
        ({"user": ""}, "user is empty"),
        ({"token_id": ""}, "id is empty"),
        ({"user": "a\0b"}, "control characters"),
        ({"user": "\ud800"}, "control characters"),
        ({"user": "x" * (MAX_SUBJECT_BYTES + 1)}, "1024 bytes"),
        ({"user": "ann", "token_id": "t1"}, "goes with nothing else"),
        ({"token_id": "t1", "issued_before": 5.0}, "goes with nothing else"),
        ({"topic": "chat:1"}, "a topic goes with a user"),
        ({"topic": "chat:1", "user": "ann", "issued_before": 5.0}, "a topic goes with a user"),
        ({"topic": "", "user": "ann"}, "must not be empty"),
        ({"issued_before": 0.0}, "time in seconds"),
        ({"issued_before": float("nan")}, "time in seconds"),
        ({"issued_before": float("inf")}, "time in seconds"),
        ({"issued_before": 161.0}, "lies in the future"),
        ({"user": "ann", "until": 100.0}, "has passed"),
        ({"user": "ann", "until": float("nan")}, "time in seconds"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_with_its_reason(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(ReplyError, match=said) as caught:
        revocable(100.0, **asked)
    assert caught.value.code == 107
