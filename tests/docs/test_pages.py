"""What the pages tell a reader to type works as typed, in the order in which they tell it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.docs.browser import evaluate
from tests.docs.markdown import PAGES, ROOT, blocks
from tests.docs.stories import Story, StoryError, fits
from tests.services.missing import find_program, unavailable
from tests.services.node import Node

STORIES = [page for page in PAGES if blocks(page.read_text())]


@pytest.fixture
def story(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Story]:
    def begin(page: str) -> Story:
        folder = tmp_path / "reader"
        folder.mkdir()
        return Story(folder, page, servers, node, lambda url, text: evaluate(devtools(), url, text))

    def asked_for(fixture: str) -> Callable[[], str]:
        return cache(lambda: str(request.getfixturevalue(fixture)))

    def node() -> Path:
        found: Node = request.getfixturevalue("node")
        found.install(ROOT / "tests/conformance")
        return found.path

    devtools = asked_for("devtools_url")
    servers = {
        "redis://127.0.0.1:6379/0": asked_for("redis_url"),
        "nats://127.0.0.1:4222": asked_for("nats_url"),
        "postgresql://hub:secret@127.0.0.1/hub": asked_for("postgres_url"),
    }
    return begin


@pytest.mark.timeout(180)
@pytest.mark.parametrize("page", STORIES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_reader_who_types_what_the_page_says_sees_what_it_says(
    page: Path, story: Callable[[str], Story]
) -> None:
    text = page.read_text()
    if "\ncurl " in text and find_program("curl") is None:
        unavailable("curl", "install curl (Debian, Ubuntu: apt install curl)")
    story(str(page.relative_to(ROOT))).tell(blocks(text))


# The stories themselves: a page that is wrong must not pass.


@pytest.mark.parametrize(
    ("page", "told"),
    [
        ("```bash\nfalse\n```\n", "ended with 1"),
        ("```bash fails\ntrue\n```\n", "ended with 0"),
        ("```bash\necho one\n```\n```text output\ntwo\n```\n", "one"),
        ("```python\nraise SystemExit('gone')\n```\n", "gone"),
        ("```python part\ndef f(:\n```\n", "invalid syntax"),
        ("```yaml hub.yaml\nversion: 1\nserver: {prot: 1}\n```\n", "Did you mean `port`?"),
        ("```yaml part\nclient: {ping: soon}\n```\n", "client.ping"),
        ("```json\n{'a': 1}\n```\n", "property name"),
        ("```bash sometimes\ntrue\n```\n", "nobody knows"),
        ("```bash watch\necho one\n```\n```text watched\ntwo\n```\n", "one"),
        ("```bash watch\nfalse\n```\n", "did not start"),
        ("```text served\nagain\n```\n", "nothing runs"),
        ("```bash serve\nhub serve --config missing.yaml\n```\n", "missing.yaml"),
    ],
    ids=lambda value: value.replace("\n", " ") if value.startswith("```") else "",
)
def test_a_page_that_is_wrong_is_found(page: str, told: str, story: Callable[[str], Story]) -> None:
    begun = story("page.md")
    begun.patience = 0.5
    with pytest.raises(StoryError, match=r"page\.md:\d+: ") as raised:
        begun.tell(blocks(page))
    assert told in str(raised.value)


def test_an_ellipsis_stands_for_anything_within_a_line_or_as_one() -> None:
    assert fits("offset 1, epoch …\n", "offset 1, epoch ByvpntuGhb\n")
    assert fits("a\n…\nd\n", "a\nb\nc\nd\n")
    assert not fits("offset 1, epoch …\n", "offset 2, epoch ByvpntuGhb\n")
    assert not fits("a\nd\n", "a\nb\nd\n")
