"""The reference of configuration errors, from their codes, each with what `hub check` says of a file that has it."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import chdir
from pathlib import Path

from hub.loader.compose import compose
from hub.settings.load import load
from hub.settings.problem import ConfigCode, ConfigError, Problem
from tests.docs.markdown import ROOT, code

REFUSED = ROOT / "tests/unit/loader/refused"
_MARK = re.compile(r" *#!.*")


def mistake_sections() -> str:
    """A heading for each code, with its sentence and, where one can be had, an example."""
    shown = examples()
    parts = []
    for each in ConfigCode:
        parts.append(f"## {each} {code(each.name.lower())}\n\n{each.sentence}")
        if each in shown:
            parts.append(shown[each])
    return "\n\n".join(parts)


def examples() -> dict[ConfigCode, str]:
    """For each code the shortest message that one of the refused configurations gets, with the line it is about."""
    found: dict[ConfigCode, tuple[Problem, str]] = {}
    for problem, line in _told():
        known = found.get(ConfigCode(problem.code))
        if known is None or len(str(problem)) < len(str(known[0])):
            found[ConfigCode(problem.code)] = problem, line
    return {each: _shown(*example) for each, example in found.items()}


def _shown(problem: Problem, line: str) -> str:
    written = f"{line}\n\n" if line else ""
    return f"```text\n{written}{problem}\n```"


def _told() -> Iterator[tuple[Problem, str]]:
    for folder in sorted(REFUSED.iterdir()):
        if (folder / "hub.yaml").is_file():
            yield from _of(folder, {})
    for text, environ in ((None, {}), ("version: 1\n", {"HUB_SERVR__PORT": "8000"})):
        with tempfile.TemporaryDirectory() as name:
            if text is not None:
                (Path(name) / "hub.yaml").write_text(text)
            yield from _of(Path(name), environ)


def _of(folder: Path, environ: Mapping[str, str]) -> Iterator[tuple[Problem, str]]:
    with chdir(folder):
        try:
            compose(load(Path("hub.yaml"), environ), "serve")
        except ConfigError as error:
            for problem in error.problems:
                yield problem, _line(problem)


def _line(problem: Problem) -> str:
    """The line of the file that a problem is about, without the marks of the tests."""
    path = Path(problem.place.source)
    if not problem.place.line or not path.is_file():
        return ""
    text = path.read_text().splitlines()
    return (
        _MARK.sub("", text[problem.place.line - 1])[:100].rstrip() if problem.place.line <= len(text) else ""
    )


def codes_in_the_code() -> set[str]:
    """Every code that some part of the hub can say."""
    found: set[str] = set()
    for path in (ROOT / "hub").rglob("*.py"):
        found |= set(re.findall(r"(?<!-)\bE[1-9]\d\d\b(?!-)", path.read_text()))
    return found
