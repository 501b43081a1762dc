"""Joins and leaves as one publication between nodes."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.broker.changes import ChangeKind, encode_change, encode_changes, expand
from hub.broker.envelope import EnvelopeError
from hub.model import ClientInfo, Publication

text = st.text(st.characters(exclude_categories=["Cs"]))
raw = st.none() | st.binary()
changes = st.lists(
    st.tuples(st.sampled_from(get_args(ChangeKind)), st.builds(ClientInfo, text, text, raw, raw))
)


@given(changes)
def test_what_goes_in_comes_out_in_order_on_one_line(changes: list[tuple[ChangeKind, ClientInfo]]) -> None:
    payload = encode_changes(encode_change(kind, info) for kind, info in changes)
    assert b"\n" not in payload
    found = expand(Publication("t", payload, kind="changes"))
    assert [(each.topic, each.kind, each.info, each.offset) for each in found] == [
        ("t", kind, info, 0) for kind, info in changes
    ]


@pytest.mark.parametrize(
    "junk", [b"", b"{}", b'[["wave","ann","a"]]', b'[["join"]]', b'[["join","\xff","a"]]']
)
def test_what_cannot_be_read_is_refused_with_one_error(junk: bytes) -> None:
    with pytest.raises(EnvelopeError):
        expand(Publication("t", junk, kind="changes"))


def test_fields_of_later_versions_are_passed_over() -> None:
    (found,) = expand(Publication("t", b'[["leave","ann","a",null,null,"new"]]', kind="changes"))
    assert found == Publication("t", b"null", info=ClientInfo("ann", "a"), kind="leave")
