"""What is kept in the corpus, and what hypothesis makes of it, breaks no promise of any target."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.auth.keys import FAMILIES
from tests.fuzz.frames import frame_reader
from tests.fuzz.targets import CORPUS, TARGETS, kept
from tests.fuzz.tokens import GOOD, GOOD_CLAIMS, KIDS, changed, confused, verified, verifier

KEPT = [pytest.param(target, path, id=f"{target}/{path.name}") for target in TARGETS for path in kept(target)]
MOST_BYTES = 200 * 1_024
HEAVY = {"settings-file", "http-head"}


@pytest.mark.parametrize(("target", "path"), KEPT)
def test_what_is_kept_breaks_no_promise(target: str, path: Path) -> None:
    TARGETS[target](path.read_bytes())


def test_the_corpus_is_small_and_holds_seeds_for_each_target_and_for_no_other() -> None:
    assert sorted(path.name for path in CORPUS.iterdir()) == sorted(TARGETS)
    assert all(len(kept(target)) >= 5 for target in TARGETS)
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) < MOST_BYTES


def mutated(seed: bytes, changes: list[tuple[str, int, bytes]]) -> bytes:
    """The seed with bytes put in, taken out, or put in place of others."""
    data = bytearray(seed)
    for how, at, what in changes:
        place = at % (len(data) + 1)
        end = place + (0 if how == "insert" else len(what))
        data[place:end] = b"" if how == "cut" else what
    return bytes(data)


changes = st.lists(
    st.tuples(st.sampled_from(["insert", "replace", "cut"]), st.integers(0, 1_000), st.binary(max_size=8)),
    min_size=1,
    max_size=6,
)


@pytest.mark.parametrize("target", TARGETS)
def test_seeds_changed_at_random_break_no_promise(target: str) -> None:
    seeds = [path.read_bytes() for path in kept(target)]
    examples = 60 if target in HEAVY else 300

    @settings(max_examples=examples, suppress_health_check=[HealthCheck.too_slow])
    @given(st.sampled_from(seeds), changes)
    def run(seed: bytes, how: list[tuple[str, int, bytes]]) -> None:
        TARGETS[target](mutated(seed, how))

    run()


@pytest.mark.parametrize("target", TARGETS)
def test_bytes_of_any_kind_break_no_promise(target: str) -> None:
    @settings(max_examples=40 if target in HEAVY else 200, suppress_health_check=[HealthCheck.too_slow])
    @given(st.binary(max_size=300))
    def run(data: bytes) -> None:
        TARGETS[target](data)

    run()


@given(st.sampled_from([path.read_bytes() for path in kept("frame-reader")]), st.integers(0, 127))
def test_a_stream_of_frames_is_read_alike_under_every_cut(seed: bytes, step: int) -> None:
    frame_reader(bytes([(seed[0] & 0x80) | step]) + seed[1:])


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 255)), min_size=1, max_size=8))
def test_a_token_changed_in_several_places_is_refused_or_says_the_same(pairs: list[tuple[int, int]]) -> None:
    token = changed(GOOD, bytes(byte for pair in pairs for byte in pair))
    found = verified(token)
    assert found is None or found.claims == GOOD_CLAIMS


@pytest.mark.parametrize("kid", range(len(KIDS)))
def test_no_public_key_in_any_form_is_taken_for_a_secret_under_any_name(kid: int) -> None:
    claims = json.dumps(GOOD_CLAIMS).encode()
    for key, form, algorithm in itertools.product(range(2), range(5), range(len(FAMILIES))):
        assert verified(confused(bytes([key, form, algorithm, kid]), claims)) is None


def test_a_target_that_breaks_a_promise_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def taken(*arguments: Any, **more: Any) -> bytes:
        return b'{"sub":"eve","exp":1900000000}'

    monkeypatch.setattr(verifier(), "_verify", taken)
    with pytest.raises(AssertionError, match="changed token"):
        TARGETS["token-verifier"](b"\x03\x28A")
    monkeypatch.setattr("tests.fuzz.frames.inflate", lambda _, limit: bytes(limit + 1))
    with pytest.raises(AssertionError, match="more was produced"):
        TARGETS["deflate"](b"\x9fx")
