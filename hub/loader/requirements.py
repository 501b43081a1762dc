"""In which order plugins start: each after those that it requires."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from hub.errors import HubError


class RequirementCycleError(HubError):
    """Plugins that require one another; `names` goes once round, the first repeated at the end."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        super().__init__(" -> ".join(names))


def start_order(requires: Mapping[str, Sequence[str]]) -> list[str]:
    """The names, each after those that it requires, and otherwise as given.

    Names that are required and are no keys are left out. Raises RequirementCycleError when there is no such order.
    """
    graph = {name: [needed for needed in wanted if needed in requires] for name, wanted in requires.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        # Each name in the library's circle is required by the next; people read it the other way.
        raise RequirementCycleError(error.args[1][::-1]) from None
    ordered: dict[str, None] = {}

    def place(name: str) -> None:
        for needed in graph[name]:
            place(needed)
        ordered.setdefault(name)

    for name in graph:
        place(name)
    return list(ordered)
