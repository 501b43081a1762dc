"""More time for the answers of a broker's server, for tests that ask for much at once and not how fast it comes."""

from __future__ import annotations

import pytest

from hub.broker.nats import broker as nats
from hub.broker.postgres import broker as postgres
from hub.broker.redis import broker as redis

PATIENCE_SECONDS = 25.0


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Brokers that are made from now on wait until the test itself has run out of time, however busy the machine."""
    for broker in (nats, postgres, redis):
        monkeypatch.setattr(broker, "PUBLISH_SECONDS", PATIENCE_SECONDS)
