"""The page that carries the tables: each stands between two marks, and a run replaces those that it measured."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

BEGIN: Final = "<!-- benchmarks: begin -->"
END: Final = "<!-- benchmarks: end -->"
_SECTION: Final = re.compile(r"<!-- ([a-z-]+): from here -->\n(.*?)\n<!-- \1: to here -->", re.DOTALL)


def replaced(page: str, sections: Mapping[str, str], order: Sequence[str]) -> str:
    """Returns the page with these sections written anew and all others kept, in this order.

    Raises ValueError when the page lacks the two marks between which sections stand.
    """
    before, begin, rest = page.partition(BEGIN)
    between, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page does not have the lines {BEGIN} and {END}")
    kept = {name: text.strip() for name, text in _SECTION.findall(between)} | dict(sections)
    written = [
        f"<!-- {name}: from here -->\n\n{kept[name]}\n\n<!-- {name}: to here -->"
        for name in sorted(kept, key=lambda name: order.index(name) if name in order else len(order))
    ]
    return f"{before}{begin}\n\n" + "\n\n".join(written) + f"\n\n{end}{after}"
