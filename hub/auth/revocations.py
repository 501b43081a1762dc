"""What has been revoked: which tokens are worth nothing although they verify, and who is barred from which topic.

Held whole and exactly in memory, so that the question costs every connection a look into a map and nobody a wait. An
entry is forgotten only once its time is over, never to make room for another: where the bound is reached, further ones
are refused.

Nodes agree without asking one another: each entry says when it was last changed, the later change holds, and of two
that are both in force the stricter. One that was lifted is kept for a while as lifted, so that a node that was away
cannot bring it back.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import structs

from hub.model import ANONYMOUS, Identity, Revocation

Key = tuple[str, str, str]

LIFTED_SECONDS: Final = 30 * 86_400.0
"""How long a lifted entry is remembered as lifted."""
AHEAD_SECONDS: Final = 86_400.0
"""How far ahead of the clock a token may say that it was issued; beyond, its times are none, such as milliseconds."""
MAX_SUBJECT_BYTES: Final = 1_024
PAGE_BYTES: Final = 131_072
"""How much of what is known one letter to another node carries."""
_BUCKET: Final = 600
"""Entries about to end are left out of digests, because nodes do not forget them at the same moment."""


class Mark(NamedTuple):
    """What revocations know a token by: its `jti`, its user, its `iat` (0 where it has none)."""

    token_id: str
    user: str
    issued_at: float


def mark_of(user: str, claims: Mapping[str, Any]) -> Mark:
    """The mark of a user's verified token. Without a usable `iat` it counts as issued before everything.

    The user is given apart, for it may stand in another claim than `sub`, and handlers may name one.
    """
    token_id, issued = claims.get("jti"), claims.get("iat")
    issued = issued if isinstance(issued, int | float) and not isinstance(issued, bool) else 0.0
    return Mark("" if token_id is None else str(token_id), user, issued)


class Revocations:
    """All entries of this node. `clock` gives seconds since 1970; `most` is how many may be made here."""

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        self.most = most
        self._clock = clock
        self._entries: dict[Key, Revocation] = {}
        self._barred = 0
        """Entries of kind `topic`, so that a hub without any does not ask for each topic."""
        self._order: list[tuple[int, Key]] = []
        """The place of each entry, in order."""
        self._sums: dict[int | None, tuple[int, int]] = {}
        """How many entries end in a stretch of time (None: never), and the checksum of all of them."""

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Revocation]:
        """Those in force, the latest first."""
        now = self._clock()
        latest = [self._entries[key] for _, key in reversed(self._order)]
        return (each for each in latest if _holds(each, now))

    # Questions

    def refuse(self, identity: Identity) -> bool:
        """Whether the token behind an identity is revoked, or the user."""
        if not self._entries or identity == ANONYMOUS:
            return False
        return self.strike(mark_of(identity.user, identity.claims))

    def strike(self, mark: Mark) -> bool:
        """Whether the token of a mark is revoked."""
        if not self._entries:
            return False
        if mark.token_id and self.in_force(("token", mark.token_id, "")):
            return True
        if mark.user and (self.in_force(("user", mark.user, "")) or self._too_old(mark.user, mark)):
            return True
        return self._too_old("", mark)

    def bar(self, user: str, topic: str) -> bool:
        """Whether a user is barred from a topic."""
        return self._barred > 0 and self.in_force(("topic", user, topic)) is not None

    def find(self, key: Key) -> Revocation | None:
        """The entry about something, in force or lifted."""
        return self._entries.get(key)

    def in_force(self, key: Key) -> Revocation | None:
        """The entry about something, while it is in force."""
        found = self._entries.get(key)
        return found if found is not None and _holds(found, self._clock()) else None

    def _too_old(self, user: str, mark: Mark) -> bool:
        found = self.in_force(("before", user, ""))
        if found is None:
            return False
        return mark.issued_at < found.issued_before or mark.issued_at > self._clock() + AHEAD_SECONDS

    # Changes

    def full(self, kind: str) -> bool:
        """Whether no further entry of a kind may be made, also after those that are over were forgotten.

        Of kind `topic` half as many may be, since who moderates a room must not use up what keeps intruders out.
        """
        if self._filled(kind):
            self.purge()
        return self._filled(kind)

    def _filled(self, kind: str) -> bool:
        return len(self._entries) >= self.most or (kind == "topic" and self._barred >= self.most // 2)

    def joined(self, entry: Revocation) -> Revocation:
        """What would stand here once an entry was taken in."""
        old = self._entries.get(entry.key)
        return entry if old is None else _merged(old, entry)

    def merge(self, entries: Iterable[Revocation]) -> list[Revocation]:
        """Takes in what the database or another node knows; returns what is new here, as it now stands."""
        fresh = []
        for entry in entries:
            old, merged = self._entries.get(entry.key), self.joined(entry)
            if merged == old:
                continue
            self._enter(old, merged)
            fresh.append(merged)
        return fresh

    def purge(self) -> None:
        """Forgets what is over."""
        now = self._clock()
        over = [key for key, each in self._entries.items() if each.until is not None and each.until <= now]
        for key in over:
            self._count(self._entries.pop(key), -1)
            self._barred -= key[0] == "topic"
        if over:
            self._order = [each for each in self._order if each[1] in self._entries]

    def _enter(self, old: Revocation | None, new: Revocation) -> None:
        if old is None:
            self._barred += new.kind == "topic"
        else:
            self._count(old, -1)
            del self._order[bisect_left(self._order, place(old))]
        self._count(new, 1)
        insort(self._order, place(new))
        self._entries[new.key] = new

    def _count(self, entry: Revocation, step: int) -> None:
        bucket = None if entry.until is None else int(entry.until) // _BUCKET
        number, checksum = self._sums.get(bucket, (0, 0))
        self._sums[bucket] = number + step, checksum ^ zlib.crc32(_encode(entry))
        if not self._sums[bucket][0]:
            del self._sums[bucket]

    # What nodes tell one another

    def digest(self) -> str:
        """A short text that is equal on nodes that know the same, but for what ends within minutes."""
        border = int(self._clock()) // _BUCKET + 2
        number = checksum = 0
        for bucket, (count, found) in self._sums.items():
            if bucket is None or bucket >= border:
                number, checksum = number + count, checksum ^ found
        return f"{number}:{checksum:08x}"

    def page(self, after: tuple[int, Key] | None) -> list[Revocation]:
        """Entries in the order of their last change, behind one of them; empty at the end, else at least one."""
        page: list[Revocation] = []
        size = 0
        begin = 0 if after is None else bisect_right(self._order, after)
        for _, key in islice(self._order, begin, None):
            size += len(_encode(self._entries[key]))
            if page and size > PAGE_BYTES:
                break
            page.append(self._entries[key])
        return page


def place(entry: Revocation) -> tuple[int, Key]:
    """Where an entry stands in the order of pages."""
    return entry.changed, entry.key


def lifted(entry: Revocation, now: float) -> Revocation:
    """The same entry, lifted now."""
    return structs.replace(
        entry, changed=max(int(now * 1_000), entry.changed + 1), lifted=True, until=now + LIFTED_SECONDS
    )


def _holds(entry: Revocation, now: float) -> bool:
    return not entry.lifted and (entry.until is None or entry.until > now)


def _merged(old: Revocation, new: Revocation) -> Revocation:
    if old.lifted or new.lifted:
        if old.changed == new.changed and old.lifted != new.lifted:
            return new if old.lifted else old
        return new if new.changed > old.changed else old
    until = None if old.until is None or new.until is None else max(old.until, new.until)
    return structs.replace(
        old,
        changed=max(old.changed, new.changed),
        issued_before=max(old.issued_before, new.issued_before),
        until=until,
    )


_encode = msgspec.json.Encoder().encode
