"""A whole hub in the test's own event loop."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2

from hub.app import Hub, create_app
from hub.model import Position
from hub.plugin import ClientRequest
from hub.testing import configuration
from hub.testing.client import HubClient
from hub.testing.clock import FakeClock


class InProcessHub:
    """Runs a hub from a configuration mapping (see `configuration.blueprint`) for the length of an `async with`.

    `http` is an async HTTP client of the hub's own routes; `clock` moves time.
    """

    def __init__(self, config: Mapping[str, Any] | Path | None = None) -> None:
        self.blueprint = configuration.blueprint(config)
        self.clock = FakeClock()
        self.hub = Hub(self.blueprint, clock=self.clock.time, monotonic=self.clock.monotonic, migrate=True)
        self.app = create_app(self.hub)
        self.clock.on_advance(self.hub.wheel.advance)
        transport = httpx2.ASGITransport(self.app)
        self.http = httpx2.AsyncClient(transport=transport, base_url="http://hub.test", timeout=10.0)

    async def __aenter__(self) -> Self:
        await self.hub.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.http.aclose()
        await self.hub.stop()

    def token(self, user: str, **claims: Any) -> str:
        """A token for a user, good for an hour unless `exp` is given."""
        return configuration.token(self.blueprint, user, self.clock.time(), **claims)

    def bearer(self, user: str, **claims: Any) -> dict[str, str]:
        """The header that makes an HTTP request a user's."""
        return {"Authorization": f"Bearer {self.token(user, **claims)}"}

    @property
    def api_key(self) -> dict[str, str]:
        """The header that makes an HTTP request the backend's."""
        return {"X-API-Key": configuration.API_KEY}

    async def connect(self, user: str = "", **claims: Any) -> HubClient:
        """A connected client, anonymous when no user is named."""
        client = HubClient(self.hub.node)
        await client.connect(**({"token": self.token(user, **claims)} if user else {}))
        return client

    def client(self, *, request: ClientRequest | None = None) -> HubClient:
        """A client that has not sent its connect command; `request` is what connect handlers see of it."""
        return HubClient(self.hub.node, request=request)

    def lose_leases(self) -> None:
        """Takes away every lease that the hub holds, as an outage of the broker does; they may be had again at once."""
        self.hub.leases.lose_all("a test took it away")

    async def publish(self, topic: str, data: Any) -> Position | None:
        """Publishes as the server does."""
        services = self.blueprint.table.services
        if services is None:
            raise RuntimeError("the hub is not running")
        return await services.publish(topic, data, tags=None, idempotency_key="", info=None)
