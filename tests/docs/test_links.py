"""Links between the pages lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.markdown import PAGES, ROOT, anchors, links

OTHERS = (
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "plugins").glob("*/README.md")),
    *sorted((ROOT / "helm").glob("*/README.md")),
    *sorted((ROOT / "examples").glob("*/README.md")),
)


@pytest.mark.parametrize("page", [*PAGES, *OTHERS], ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_what_exists(page: Path) -> None:
    broken = [target for target in links(page.read_text()) if not leads_somewhere(page, target)]
    assert broken == []


def leads_somewhere(page: Path, target: str) -> bool:
    if re.match(r"[a-z]+:", target):
        return True
    name, _, anchor = target.partition("#")
    path = (page.parent / name).resolve() if name else page
    if not path.exists():
        return False
    return not anchor or (path.suffix == ".md" and anchor in anchors(path.read_text()))


def test_a_link_to_nowhere_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One\n\n## `hub dev`: two!\n")
    assert leads_somewhere(page, "#hub-dev-two")
    assert leads_somewhere(page, "page.md#one")
    assert not leads_somewhere(page, "#three")
    assert not leads_somewhere(page, "other.md")
