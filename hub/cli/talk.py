"""How commands speak: talk to standard error, colours only where somebody sees them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, TextIO

import click


def say(text: str = "") -> None:
    """A line of talk."""
    click.echo(text, err=True)


def style(text: str, *, stream: TextIO | None = None, **how: Any) -> str:
    """The text in colour or bold (see `click.style`), if the stream, by default standard error, is a terminal.

    NO_COLOR, if not empty, and TERM=dumb turn colours off.
    """
    shown = stream or sys.stderr
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not shown.isatty()
    return text if plain else click.style(text, **how)


def fail(text: str) -> None:
    """What went wrong, in one sentence with its remedy."""
    say(f"{style('error:', fg='red', bold=True)} {text}")


def warn(text: str) -> None:
    """What may not be meant so."""
    say(f"{style('warning:', fg='yellow', bold=True)} {text}")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table with columns as wide as they need to be."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    return [
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, *rows)
    ]


def count(number: int, noun: str) -> str:
    """`1 topic`, `2 topics`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
