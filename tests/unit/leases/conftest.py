"""Leases and what stands on them live by the clock, so that of these tests jumps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tests.services.jumping import JumpingLoop


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"jumping": JumpingLoop}
