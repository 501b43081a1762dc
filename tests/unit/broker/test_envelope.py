from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.broker.envelope import EnvelopeError, decode_body, decode_message, encode_body, parse_place
from hub.model import ClientInfo, Position, Publication

text = st.text(st.characters(exclude_categories=["Cs"]))
infos = st.builds(ClientInfo, text, text, st.none() | st.binary(), st.none() | st.binary())
publications = st.builds(
    Publication,
    st.just("t"),
    st.binary(),
    info=st.none() | infos,
    tags=st.none() | st.dictionaries(text, text),
    time=st.integers(0, 2**53),
    kind=st.sampled_from(["pub", "join", "leave", "changes"]),
)


@given(publications, st.integers(1, 2**62), st.text("abcXYZ", min_size=8))
def test_publication_comes_out_as_it_went_in(publication: Publication, offset: int, epoch: str) -> None:
    body = encode_body(publication)
    assert decode_body("t", body, None) == publication
    assert decode_message("t", b"\n" + body) == publication
    placed = decode_message("t", b"%d:%s\n%s" % (offset, epoch.encode(), body))
    assert placed == publication.replace(offset=offset, epoch=epoch)


@given(st.binary())
def test_foreign_bytes_are_refused_with_one_error(junk: bytes) -> None:
    for read in (
        lambda: decode_message("t", junk),
        lambda: decode_body("t", junk, None),
        lambda: parse_place(junk),
    ):
        with suppress(EnvelopeError):
            read()


@pytest.mark.parametrize(
    "junk", [b"", b"x", b"\n", b"\n2{}\n1", b"\n1{}", b"1\n1{}\n", b"-1:e\n1{}\n", b'\n1{"t":"x"}\n']
)
def test_what_is_no_message_is_refused(junk: bytes) -> None:
    with pytest.raises(EnvelopeError):
        decode_message("t", junk)


def test_fields_of_later_versions_are_passed_over() -> None:
    assert decode_message("t", b'7:e\n1{"new":[1]}\nraw') == Publication("t", b"raw", 7, "e")
    assert parse_place(b"7:e") == Position(7, "e")
