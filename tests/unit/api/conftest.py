"""A hub in the test's own event loop, with a topic for each thing that the API has to tell apart."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from hub.testing import InProcessHub

ANYONE = {"subscribe": "anyone", "publish": "anyone"}
CONFIG: dict[str, Any] = {
    "auth": {
        "api_keys": {
            "chat": {"key": "key-of-the-chat-only", "allow": ["publish:chat:*", "history:chat:*"]},
            "reader": {"key": "key-of-readers-only", "allow": ["history", "presence"]},
        }
    },
    "client": {"history_page": 4},
    "api": {"body_bytes": 4_096},
    "server": {"allowed_origins": ["https://app.example"]},
    "topics": {
        "news:{section}": {"allow": ANYONE, "history": {"size": 10, "ttl": "1h"}, "presence": True},
        "plain:{name}": {"allow": ANYONE},
        "chat:{room}": {"allow": ANYONE, "history": {"size": 10, "ttl": "1h"}},
        "members:{name}": {"allow": {"subscribe": "authenticated", "publish": "authenticated"}},
        "staff:{name}": {"allow": {"subscribe": "role:staff", "publish": "role:staff"}},
        "small:{name}": {"allow": ANYONE, "max_bytes": 10},
        "strict:{name}": {
            "allow": ANYONE,
            "schema": {"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}},
        },
        "guarded:{name}": {
            "allow": ANYONE,
            "handlers": {
                "publish": "tests.unit.api.guards:guard",
                "subscribe": "tests.unit.api.guards:doorman",
            },
        },
    },
}


@pytest.fixture
async def hub() -> AsyncIterator[InProcessHub]:
    async with InProcessHub(CONFIG) as running:
        yield running
