"""Differences between two texts in the delta form of the Fossil version control system, which the SDKs can apply.

A delta is the target's size and a line break, then commands: `<n>@<offset>,` copies n bytes of the source, `<n>:` and n
bytes inserts them, and `<checksum>;` ends it. Numbers are in base 64. Copies begin and end between characters, so that
the delta of two texts in UTF-8 is such a text itself.

The work is bounded: what a thorough search might still find is inserted instead.
"""

from __future__ import annotations

import re
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from typing import Final

_DIGITS: Final = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~"
_VALUES: Final = {digit: value for value, digit in enumerate(_DIGITS)}
_COMMAND: Final = re.compile(rb"([0-9A-Z_a-z~]+)(?:(:)|(;)|@([0-9A-Z_a-z~]+),)")
_BLOCK: Final = 16
_SHORTEST: Final = 8
"""A copy of fewer bytes than this is longer than the bytes themselves."""
_MAX_COPIES: Final = 512
_CANDIDATES: Final = 2
"""Equal blocks of the source looked at on either side of where the next is expected."""
_HASTE: Final = 7
"""After 2**7 places without a match every second one is looked at, after twice as many every third, and so on."""


def create(source: bytes, target: bytes) -> bytes:
    """The delta from source to target; it may be longer than the target. At most some 7 ms for 64 KiB of each."""
    parts = [_number(len(target)), b"\n"]
    done = 0
    for start, end, origin in _copies(source, target):
        first, last = _between_characters(target, start, end)
        if last - first < _SHORTEST:
            continue
        if first > done:
            parts += (_number(first - done), b":", target[done:first])
        parts += (_number(last - first), b"@", _number(origin + first - start), b",")
        done = last
    if done < len(target):
        parts += (_number(len(target) - done), b":", target[done:])
    parts += (_number(checksum(target)), b";")
    return b"".join(parts)


def apply(source: bytes, delta: bytes) -> bytes:
    """The target of a delta. Raises ValueError when the delta is malformed or belongs to another source."""
    head, newline, _ = delta.partition(b"\n")
    if not newline or not head or any(digit not in _VALUES for digit in head):
        raise ValueError("the delta does not begin with a size")
    size, at, target = _value(head), len(head) + 1, bytearray()
    while found := _COMMAND.match(delta, at):
        count, insert, end, origin = found.groups()
        number, at = _value(count), found.end()
        if end:
            if len(target) != size or checksum(target) != number or at != len(delta):
                raise ValueError("the delta's size or checksum does not hold")
            return bytes(target)
        piece = delta[at : at + number] if insert else source[_value(origin) : _value(origin) + number]
        if len(piece) != number or len(target) + number > size:
            raise ValueError("a command of the delta reaches too far")
        target += piece
        at += number if insert else 0
    raise ValueError("the delta has an unknown command or no end")


def checksum(target: bytes | bytearray) -> int:
    """The sum of the big-endian 32-bit words, the last one filled up with zeros, modulo 2**32."""
    words = array("I", bytes(target) + bytes(-len(target) % 4))
    if sys.byteorder == "little":
        words.byteswap()
    return sum(words) & 0xFFFF_FFFF


def _number(value: int) -> bytes:
    digits = bytearray()
    while True:
        digits.append(_DIGITS[value & 63])
        value >>= 6
        if not value:
            digits.reverse()
            return bytes(digits)


def _value(digits: bytes) -> int:
    value = 0
    for digit in digits:
        value = value << 6 | _VALUES[digit]
    return value


def _copies(source: bytes, target: bytes) -> Iterator[tuple[int, int, int]]:
    """Parts of the target that the source holds: where they start and end, and where they are in the source.

    What both begin and end with is found at once, which is all for one change in one place.
    """
    head = _alike(source, 0, target, 0)
    tail = _alike_at_end(source, target, min(len(source), len(target)) - head)
    end = len(target) - tail
    yield 0, head, 0
    if end - head >= _BLOCK:
        yield from _search(source, target, head, end)
    yield end, len(target), len(source) - tail


def _search(source: bytes, target: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    index = _index(source)
    shift = misses = copies = 0
    done = at
    while at + _BLOCK <= end and copies < _MAX_COPIES:
        block = target[at : at + _BLOCK]
        origin = at + shift
        if origin < 0 or source[origin : origin + _BLOCK] != block:
            places = index.get(block)
            if places is None:
                misses += 1
                at += 1 + (misses >> _HASTE)
                continue
            origin = _best(places, source, origin, target, at)
        back = _before(source, origin, target, at, done)
        until = min(at + _alike(source, origin, target, at), end)
        yield at - back, until, origin - back
        shift, at, done = origin - at, until, until
        misses = 0
        copies += 1


def _index(source: bytes) -> dict[bytes, list[int]]:
    """Where the blocks of the source are, in order."""
    index: dict[bytes, list[int]] = {}
    for at in range(0, len(source) - _BLOCK + 1, _BLOCK):
        block = source[at : at + _BLOCK]
        places = index.get(block)
        if places is None:
            index[block] = [at]
        else:
            places.append(at)
    return index


def _best(places: list[int], source: bytes, expected: int, target: bytes, at: int) -> int:
    """Of equal blocks near to where the next one is expected, that after which most is alike."""
    if len(places) == 1:
        return places[0]
    middle = bisect_left(places, expected)
    near = places[max(0, middle - _CANDIDATES) : middle + _CANDIDATES]
    return max(near, key=lambda origin: _alike(source, origin, target, at))


def _alike(source: bytes, origin: int, target: bytes, at: int) -> int:
    """How many bytes are alike from two places on; compares ever larger pieces, then halves the one that differs."""
    limit = min(len(source) - origin, len(target) - at)
    length, span = 0, _BLOCK
    while length < limit:
        span = min(span, limit - length)
        if source[origin + length : origin + length + span] != target[at + length : at + length + span]:
            break
        length += span
        span *= 2
    else:
        return length
    while span > 1:
        half = span // 2
        if source[origin + length : origin + length + half] == target[at + length : at + length + half]:
            length += half
            span -= half
        else:
            span = half
    return length


def _alike_at_end(source: bytes, target: bytes, limit: int) -> int:
    length, span = 0, _BLOCK
    while length < limit:
        span = min(span, limit - length)
        if _from_end(source, length, span) != _from_end(target, length, span):
            break
        length += span
        span *= 2
    else:
        return length
    while span > 1:
        half = span // 2
        if _from_end(source, length, half) == _from_end(target, length, half):
            length += half
            span -= half
        else:
            span = half
    return length


def _from_end(text: bytes, skip: int, size: int) -> bytes:
    return text[len(text) - skip - size : len(text) - skip]


def _before(source: bytes, origin: int, target: bytes, at: int, done: int) -> int:
    """How many bytes before two places are alike; fewer than a block, or they had been found before."""
    limit = min(origin, at - done, _BLOCK)
    length = 0
    while length < limit and source[origin - length - 1] == target[at - length - 1]:
        length += 1
    return length


def _between_characters(target: bytes, start: int, end: int) -> tuple[int, int]:
    """Moves both ends inward to where characters begin, which the bytes 0x80 to 0xBF never do."""
    while start < end and target[start] & 0xC0 == 0x80:
        start += 1
    while start < end < len(target) and target[end] & 0xC0 == 0x80:
        end -= 1
    return start, end
