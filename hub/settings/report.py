"""Where all that is wrong with a configuration comes together, before it is told at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from hub.settings.problem import ConfigError, Fault, Problem
from hub.settings.verdict import Verdict

Loc: TypeAlias = Sequence[str | int]


class Report:
    """Collects problems, and leaves out those that only echo a mistake already known."""

    def __init__(self, problems: Iterable[Problem] = ()) -> None:
        self._problems = dict.fromkeys(problems)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """All problems in the order in which they were found, none twice."""
        return tuple(self._problems)

    def include(self, problems: Iterable[Problem]) -> None:
        """Takes over problems that others found."""
        self._problems |= dict.fromkeys(problems)

    def add(
        self,
        verdict: Verdict[Any],
        loc: Loc,
        fault: Fault,
        *,
        at_key: bool = False,
        given: Iterable[Loc] = (),
    ) -> None:
        """Says what is wrong with the value (or the key) at `loc` of a document.

        Nothing is said when a mistake there is known, or in one of the other places that the fault is concluded from.
        """
        if any(verdict.settled(place) for place in (loc, *given)):
            return
        document = verdict.document
        place = document.place(loc) if at_key else document.value_place(loc)
        if isinstance(loc[-1], int) and document.path(loc) != tuple(loc):
            loc = loc[:-1]  # A list of one that was written without brackets.
        self._problems[fault.at(place, loc)] = None

    def check(self) -> None:
        """Raises ConfigError when there is any problem."""
        if self._problems:
            raise ConfigError(self._problems)
