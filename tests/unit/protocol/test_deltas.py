"""Publications told as differences."""

from __future__ import annotations

import json

from hub.model import ClientInfo, Publication
from hub.protocol import deltas, fossil, json_codec
from hub.protocol.deltas import Deltas, Difference, whole

LONG = json.dumps({"rows": [{"id": n, "text": f"row number {n}"} for n in range(60)]})


def pub(offset: int, text: str | bytes = "") -> Publication:
    raw = (
        text if isinstance(text, bytes) else (text or LONG.replace("number 30", f"NUMBER {offset}")).encode()
    )
    return Publication("t", raw, offset, "e", tags={"a": "b"})


def read(told: list[Publication], base: bytes = b"") -> list[bytes]:
    """What a client makes of it."""
    payloads = []
    for publication in told:
        text = json.loads(publication.raw).encode()
        base = fossil.apply(base, text) if isinstance(publication, Difference) else text
        payloads.append(base)
    return payloads


def test_a_list_begins_whole_and_goes_on_with_differences() -> None:
    publications = [pub(offset) for offset in (1, 2, 3)]
    told = Deltas().chain(publications)
    assert [isinstance(found, Difference) for found in told] == [False, True, True]
    assert read(told) == [found.raw for found in publications]
    assert max(len(found.raw) for found in told[1:]) < 60


def test_a_base_makes_the_first_a_difference_too() -> None:
    told = Deltas().chain([pub(2)], pub(1))
    assert isinstance(told[0], Difference)
    assert read(told, pub(1).raw) == [pub(2).raw]


def test_a_difference_is_made_once_for_all() -> None:
    shared = Deltas()
    publications = [pub(offset) for offset in range(1, 6)]
    first = shared.chain(publications)
    assert shared.chain(publications) == first
    assert read(shared.chain(publications[2:])) == [found.raw for found in publications[2:]]
    assert shared.made == 4


def test_a_position_given_anew_is_no_difference_of_the_first() -> None:
    shared = Deltas()
    shared.chain([pub(1), pub(2)])
    again = [pub(1), pub(2, LONG.replace("number 7", "another"))]
    assert read(shared.chain(again)) == [found.raw for found in again]


def test_what_is_kept_is_bounded() -> None:
    shared = Deltas(max_kept=1_000)
    publications = [pub(offset) for offset in range(1, 50)]
    assert read(shared.chain(publications)) == [found.raw for found in publications]
    assert len(shared._kept) <= 4
    assert shared._size <= 1_000
    assert shared._size == sum(len(kept or b"") + 256 for kept in shared._kept.values())


def test_what_is_no_shorter_is_told_whole() -> None:
    told = Deltas().chain([pub(1, '"a"'), pub(2, '"b"')])
    assert [type(found) for found in told] == [Publication, Publication]
    assert read(told) == [b'"a"', b'"b"']


def test_long_payloads_are_told_whole() -> None:
    long = json.dumps("x" * deltas.MAX_PAYLOAD)
    told = Deltas().chain([pub(1), pub(2, long), pub(3)])
    assert not any(isinstance(found, Difference) for found in told)


def test_the_work_for_one_list_is_bounded() -> None:
    shared = Deltas()
    size = len(pub(1).raw)
    publications = [pub(offset) for offset in range(1, deltas.MAX_WORK // size + 50)]
    told = shared.chain(publications)
    assert shared.made == deltas.MAX_WORK // size
    assert not isinstance(told[-1], Difference)
    assert read(told) == [found.raw for found in publications]


def test_characters_of_several_bytes_stay_whole() -> None:
    before, after = (f'{{"text": "{word * 30} Ж日🎈 конец строки, и ещё немного"}}' for word in ("йк", "йл"))
    told = Deltas().chain([pub(1, before), pub(2, after)])
    assert read(told) == [before.encode(), after.encode()]


def test_bytes_that_are_no_text_are_never_built_upon() -> None:
    bad = LONG.encode().replace(b"number 9", b"number \xff")
    told = Deltas().chain([pub(1), pub(2, bad), pub(3)])
    assert not any(isinstance(found, Difference) for found in told[2:])
    assert read(told)[2] == pub(3).raw


def test_joins_and_leaves_stay_between_as_they_are() -> None:
    join = Publication("t", b"null", info=ClientInfo("ann", "c"), kind="join")
    told = Deltas().chain([pub(1), join, pub(2)])
    assert told[1] is join
    assert isinstance(told[2], Difference)


def test_a_difference_says_so_in_pushes_and_lists() -> None:
    told = Deltas().chain([pub(4), pub(5)])
    pushes = [json.loads(json_codec.publication_push("t", found))["push"]["pub"] for found in told]
    assert [sorted(found) for found in pushes] == [
        ["data", "offset", "tags"],
        ["data", "delta", "offset", "tags"],
    ]
    listed = json.loads(json_codec.encode(json_codec.wire_publications(told)))
    assert listed == pushes
    assert pushes[0]["data"] == pub(4).raw.decode()


def test_a_whole_payload_is_its_text() -> None:
    assert json.loads(whole(pub(1, '{"a":  "é\\u00e9"}')).raw) == '{"a":  "é\\u00e9"}'
