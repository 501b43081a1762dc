"""The beginning of a plugin: a folder that works, with a test that shows it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from hub.manifest import NAME_PATTERN

_MANIFEST: Final = """\
name: {name}
api: 1
version: 0.1.0
description: Says what the plugin does, in one sentence.

topics:
  "{name}:{{room}}":
    allow: {{subscribe: anyone, publish: authenticated}}
    history: {{size: 100, ttl: 1h}}
    handlers: {{publish: "handlers:check"}}
"""
_HANDLERS: Final = '''\
"""What the plugin does with publications; `hub.plugin` is all of the hub that it needs."""

from hub.plugin import Context, Publication, ReplyError

LONGEST = 500


async def check(ctx: Context, pub: Publication) -> Publication:
    """Accepts an object with a text only, and adds who wrote it."""
    text = pub.data.get("text") if isinstance(pub.data, dict) else None
    if not isinstance(text, str) or len(text) > LONGEST:
        raise ReplyError(400, f"publish an object whose `text` has at most {LONGEST} characters")
    return pub.replace(data={"text": text, "by": ctx.identity.user})
'''
_TEST: Final = '''\
"""Run with: python -m pytest {folder}"""

import asyncio
from pathlib import Path

import pytest

from hub.plugin import ReplyError
from hub.testing import InProcessHub

CONFIG = {{"plugins": {{"{name}": {{"use": str(Path(__file__).parent)}}}}}}


def test_what_is_published_carries_its_author() -> None:
    async def story() -> None:
        async with InProcessHub(CONFIG) as hub:
            ann = await hub.connect("ann")
            await ann.subscribe("{name}:hall")
            await ann.publish("{name}:hall", {{"text": "hello"}})
            assert await ann.expect_publication("{name}:hall") == {{"text": "hello", "by": "ann"}}

    asyncio.run(story())


def test_anything_else_is_refused() -> None:
    async def story() -> None:
        async with InProcessHub(CONFIG) as hub:
            ann = await hub.connect("ann")
            with pytest.raises(ReplyError, match="text"):
                await ann.publish("{name}:hall", {{"txt": "hello"}})

    asyncio.run(story())
'''


def misnamed(name: str) -> str | None:
    """Why a plugin cannot have this name; None when it can."""
    from hub.loader.discovery import misnamed as refused

    if not re.fullmatch(NAME_PATTERN, name):
        return f"{name!r} cannot be a plugin's name: write lower-case letters, digits and _, beginning with a letter."
    fault = refused(name)
    return f"{fault.message}. {fault.remedy}" if fault else None


def write(name: str, home: Path) -> list[Path]:
    """Writes the plugin into a new folder and returns its files. Raises FileExistsError when there is such a folder."""
    home.mkdir(parents=True)
    texts = {
        "plugin.yaml": _MANIFEST.format(name=name),
        "handlers.py": _HANDLERS,
        f"test_{name}.py": _TEST.format(name=name, folder=home.as_posix()),
    }
    for file, text in texts.items():
        (home / file).write_text(text)
    return [home / file for file in texts]
