"""Parts of a page that are made from the code, between `<!-- made: name -->` and `<!-- end -->`.

What stands outside of them is written by people and is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

Maker = Callable[[], str]

_REGION = re.compile(r"(<!-- made: (?P<name>[\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def names(page: str) -> list[str]:
    """The names of a page's regions, in order."""
    return [found["name"] for found in _REGION.finditer(page)]


def renewed(page: str, makers: Mapping[str, Maker]) -> str:
    """The page with every region made anew; raises KeyError for a region that nobody makes."""
    return _REGION.sub(lambda found: f"{found[1]}\n{makers[found['name']]().strip()}\n\n{found[3]}", page)
