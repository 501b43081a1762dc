"""What the tests need of Markdown: its code blocks, its headings, its links; and how tables are written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
_FENCE = re.compile(r"(?m)^(?P<fence>```+)(?P<info>[^\n]*)\n(?P<text>.*?)^(?P=fence)[ ]*$", re.DOTALL)
_HEADING = re.compile(r"(?m)^(#{1,6}) +(.+?) *$")
_LINK = re.compile(r"(?<!!)\[(?:[^\[\]]|\[[^\]]*\])*\]\((?P<target>[^)\s]+)\)")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language, the words behind it, its text, and the line on which it begins."""

    language: str
    words: tuple[str, ...]
    text: str
    line: int

    @property
    def word(self) -> str:
        """The first word behind the language, "" when there is none."""
        return self.words[0] if self.words else ""


def blocks(page: str) -> list[Block]:
    """All fenced blocks of a page, in order."""
    found = []
    for fence in _FENCE.finditer(page):
        language, *words = fence["info"].split() or [""]
        found.append(Block(language, tuple(words), fence["text"], page.count("\n", 0, fence.start()) + 1))
    return found


def prose(page: str) -> str:
    """The page without its fenced blocks."""
    return _FENCE.sub("", page)


def links(page: str) -> list[str]:
    """Where the page's links lead."""
    return [found["target"] for found in _LINK.finditer(prose(page))]


def anchors(page: str) -> set[str]:
    """The names by which links reach the page's headings, made as GitHub makes them."""
    found: set[str] = set()
    for _, title in _HEADING.findall(prose(page)):
        anchor = re.sub(r"[^\w\- ]", "", title.replace("`", "").lower()).replace(" ", "-")
        number, unique = 0, anchor
        while unique in found:
            number += 1
            unique = f"{anchor}-{number}"
        found.add(unique)
    return found


def first_cells(page: str) -> list[str]:
    """What stands as code in the first column of the page's tables, without the backticks."""
    return re.findall(r"(?m)^\| ?`([^`]+)`", page)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Escapes what would break a cell or, outside of code, be taken for HTML."""
    parts = text.replace("|", "\\|").replace("\n", " ").split("`")
    return "`".join(part if number % 2 else part.replace("<", "&lt;") for number, part in enumerate(parts))


def code(text: str) -> str:
    """Text as code."""
    return f"`{text}`"
