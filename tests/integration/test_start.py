"""The order in which a hub's parts start and stop, also when one of them cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub.errors import ReplyError
from hub.testing import InProcessHub

MANIFEST = 'name: moody\napi: 1\nhandlers: {start: "handlers:start", stop: "handlers:stop"}\n'
HANDLERS = """
from hub.plugin import Context, ReplyError

SAID = []

async def start(ctx: Context) -> None:
    SAID.append("start")
    if ctx.settings is None and FAILS:
        raise ReplyError(1000, "not today")

async def stop(ctx: Context) -> None:
    SAID.append("stop")
"""


@pytest.mark.parametrize("fails", [False, True])
async def test_a_start_that_fails_leaves_nothing_running(tmp_path: Path, fails: bool) -> None:
    folder = tmp_path / "moody"
    folder.mkdir()
    (folder / "plugin.yaml").write_text(MANIFEST)
    (folder / "handlers.py").write_text(f"FAILS = {fails}\n{HANDLERS}")
    hub = InProcessHub({"plugins": {"moody": {"use": str(folder)}}})
    if fails:
        with pytest.raises(ReplyError, match="not today"):
            await hub.__aenter__()
        await hub.http.aclose()
    else:
        async with hub:
            assert await hub.connect("ann")
    assert not hub.hub.bridge.ready
    assert len(hub.hub.tasks) == 0
