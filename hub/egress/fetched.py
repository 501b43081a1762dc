"""What another server answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec


@dataclass(frozen=True, slots=True)
class Fetched:
    """The answer to a request of the hub's own. Names of `headers` are in lower case; of several the last counts."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def data(self) -> Any:
        """The body as JSON; raises ValueError where it is none."""
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise ValueError(f"the answer is no JSON: {error}") from error
