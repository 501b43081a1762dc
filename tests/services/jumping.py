"""An event loop whose time jumps from timer to timer: a term passes at once, and exactly, however busy the machine."""

from __future__ import annotations

import asyncio
import selectors


class _Selector(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(None if timeout is None else 0)
        if not ready and timeout:
            self.now += timeout
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """Its time, in seconds, stands while there is something to do; what is tested takes it for its clock."""

    def __init__(self) -> None:
        self._jumps = _Selector()
        super().__init__(self._jumps)

    def time(self) -> float:
        """Seconds since some moment, as of the last jump."""
        return self._jumps.now


def now() -> float:
    """The time of the loop that runs: a clock for what is tested."""
    return asyncio.get_running_loop().time()
