"""The fixtures every test may ask for; each module named here holds those of one noun."""

from __future__ import annotations

from hypothesis import settings

# How long an example takes says something of the machine alone.
settings.register_profile("hub", deadline=None)
settings.load_profile("hub")

pytest_plugins = [
    "tests.services.missing",
    "tests.services.workers",
    "tests.services.patience",
    "tests.services.redis",
    "tests.services.redis_cluster",
    "tests.services.redis_sentinel",
    "tests.services.nats",
    "tests.services.postgres",
    "tests.services.owners",
    "tests.services.certificate",
    "tests.services.node",
    "tests.services.chromium",
    "tests.services.helm",
]
