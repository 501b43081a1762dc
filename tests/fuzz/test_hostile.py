"""Hostile handshakes, frames, commands and tokens are answered as they must be; and what tries them can fail."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fuzz import hostile_talk
from tests.fuzz.hostile import MOST_GROWTH, Trial, Verdict, config, try_all
from tests.fuzz.hostile_entries import Entry, read_corpus
from tests.fuzz.hostile_talk import HUNG, tried
from tests.services.hub import HubProcess

_EXPECTED = re.compile(r"served|gone|(http|close|reply) [1-9]\d{2,3}")
_CORPUS = read_corpus()


def entry(name: str) -> Entry:
    """One of the corpus."""
    return next(each for each in _CORPUS if each.name == name)


@pytest.mark.timeout(180)
def test_hostile_input_is_answered_as_expected_and_leaves_no_trace(tmp_path: Path) -> None:
    verdict = try_all(tmp_path, _CORPUS, 3, 1)
    assert verdict.complaints == [], verdict.table()
    assert verdict.total.keys() == {"as expected"}
    assert verdict.total.total() > 2 * len(_CORPUS)
    assert len(verdict.memory) == 3
    assert "Traceback" not in verdict.log


def test_the_corpus_is_large_and_says_of_everything_what_must_be_answered() -> None:
    families = Counter(each.family for each in _CORPUS)
    assert set(families) == {"handshakes", "frames", "commands", "tokens"}
    assert min(families.values()) >= 50
    assert len({(each.family, each.name) for each in _CORPUS}) == len(_CORPUS) >= 150
    for each in _CORPUS:
        assert each.expected, each.name
        assert all(_EXPECTED.fullmatch(word) for word in each.expected), each.name
        assert len(each.data) < 3_000_000, each.name


@pytest.mark.timeout(90)
def test_a_wrong_answer_is_noticed(tmp_path: Path) -> None:
    wrong = [
        replace(entry("a good token"), expected=("close 3500",)),
        replace(entry("the algorithm none"), expected=("served",)),
        replace(entry("no mask"), expected=("close 1009",)),
        entry("a good frame"),
    ]
    verdict = try_all(tmp_path, wrong, 1, 1)
    assert verdict.total == {"leniently": 1, "otherwise": 2, "as expected": 1}
    assert len(verdict.complaints) == 3
    assert "tokens: a good token: leniently: served, not close 3500" in verdict.complaints


@pytest.mark.timeout(90)
async def test_the_end_of_the_hub_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "hub.yaml").write_text(json.dumps(config()))
    with HubProcess("serve", "--config", "hub.yaml", cwd=tmp_path) as hub:
        trial = Trial(hub, int(hub.url().rpartition(":")[2]))
        hub.process.kill()
        hub.process.wait()
        verdict = await trial.run([entry("a good token")], 1, 1)
    assert verdict.total == {"crashed": 1}


async def test_silence_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostile_talk, "_WAIT", 0.1)
    monkeypatch.setattr(hostile_talk, "_HTTP_SECONDS", 0.1)
    over = asyncio.Event()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    async with await asyncio.start_server(mute, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await tried(entry("a good handshake"), port) == HUNG
        assert await tried(entry("no mask"), port) == "no beginning"
        over.set()


def test_memory_descriptors_and_faults_in_the_log_are_judged() -> None:
    flat = Verdict(memory=[1, 9_000_000, 9_000_000 + MOST_GROWTH], descriptors=[16, 16, 16], log="{}")
    flat.judge()
    assert flat.complaints == []
    grown = Verdict(
        memory=[1, 9_000_000, 9_000_001 + MOST_GROWTH], descriptors=[16, 16, 17], log="Traceback ("
    )
    grown.judge()
    assert len(grown.complaints) == 3
