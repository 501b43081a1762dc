"""Publications as they are told to those who asked for differences: each as a JSON string that holds text.

The text is the payload as it was published, or its delta against the payload told before. A difference is made once for
all who are told it, those included who come back later and recover it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from hub.model import Publication
from hub.protocol import fossil

MAX_PAYLOAD: Final = 65_536
"""Bytes of a payload above which it is told whole: the search for a difference holds up everything else."""

MAX_WORK: Final = 262_144
"""Bytes of payloads compared in one go at most, some 30 ms at worst; what is beyond is told whole."""

MAX_KEPT: Final = 8_388_608
"""Bytes of differences that are kept for others on one node."""

_OVERHEAD: Final = 256
_encode = msgspec.json.Encoder().encode
_FIELDS: Final = tuple(name for name in Publication.__struct_fields__ if name != "raw")
_Key = tuple[str, str, int, int, int]


class Difference(Publication, gc=False):
    """A publication whose `raw` is a delta against the publication told before it, as a JSON string."""


class Deltas:
    """Makes differences, and keeps them by the two payloads that they lie between."""

    def __init__(self, max_kept: int = MAX_KEPT) -> None:
        self.made = 0
        """How often two payloads were compared."""
        self._kept: dict[_Key, bytes | None] = {}
        self._size = 0
        self._max_kept = max_kept

    def chain(
        self, publications: Iterable[Publication], base: Publication | None = None
    ) -> list[Publication]:
        """Publications in their order, each payload against the one before; the first against `base`, if any.

        Joins and leaves stay as they are. What is no shorter as a difference, or none at all, is told whole.
        """
        told, work = [], MAX_WORK
        for publication in publications:
            if publication.kind != "pub":
                told.append(publication)
                continue
            difference = None
            if base is not None:
                key = _key(base, publication)
                if key not in self._kept and (work := work - len(publication.raw)) >= 0:
                    self.made += 1
                    self._keep(key, _difference(base.raw, publication.raw))
                difference = self._kept.get(key)
            told.append(_as(Difference, publication, difference) if difference else whole(publication))
            base = publication
        return told

    def _keep(self, key: _Key, difference: bytes | None) -> None:
        """Keeps one; the oldest give way."""
        self._kept[key] = difference
        self._size += len(difference or b"") + _OVERHEAD
        while self._size > self._max_kept and len(self._kept) > 1:
            oldest = next(iter(self._kept))
            self._size -= len(self._kept.pop(oldest) or b"") + _OVERHEAD


def whole(publication: Publication) -> Publication:
    """A publication with its whole payload as a JSON string."""
    return _as(Publication, publication, _encode(publication.raw.decode("utf-8", "replace")))


def _key(base: Publication, publication: Publication) -> _Key:
    """Says which payloads are meant by their hashes too: positions may be lost by a broker and given anew."""
    return publication.topic, publication.epoch, publication.offset, hash(base.raw), hash(publication.raw)


def _difference(base: bytes, raw: bytes) -> bytes | None:
    """A delta as a JSON string; None where the payload is to be told whole.

    Bytes that are no UTF-8 reach a client changed, so nothing can be built upon them.
    """
    if max(len(base), len(raw)) > MAX_PAYLOAD:
        return None
    try:
        base.decode()
        delta = fossil.create(base, raw)
        return _encode(delta.decode()) if len(delta) < len(raw) else None
    except UnicodeDecodeError:
        return None


def _as(kind: type[Publication], publication: Publication, raw: bytes) -> Publication:
    values: dict[str, Any] = {name: getattr(publication, name) for name in _FIELDS}
    return kind(raw=raw, **values)
