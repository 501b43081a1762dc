from __future__ import annotations

import asyncio
import time

from hub.api.health import run_checks
from hub.testing import InProcessHub


async def test_a_live_node_says_so(hub: InProcessHub) -> None:
    response = await hub.http.get("/health/live")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})
    assert (await hub.http.get("/health")).json() == {}


async def test_ready_names_each_check(hub: InProcessHub) -> None:
    async with asyncio.timeout(5):
        while not hub.hub.bridge.ready:
            await asyncio.sleep(0.01)
    response = await hub.http.get("/health/ready")
    assert response.status_code == 200
    assert response.json() == {
        "status": "ok",
        "checks": {"broker": "ok", "database": "ok", "accepting": "ok"},
    }


async def test_a_node_that_drains_is_not_ready(hub: InProcessHub) -> None:
    hub.hub.node.draining = True
    response = await hub.http.get("/health/ready")
    assert response.status_code == 503
    assert response.json()["status"] == "unavailable"
    assert response.json()["checks"]["accepting"] == "failed"


async def test_checks_fail_by_false_and_by_raising_and_by_taking_too_long() -> None:
    def raising() -> None:
        raise RuntimeError("no")

    async def refusing() -> bool:
        return False

    async def hanging() -> None:
        await asyncio.Event().wait()

    async def silent() -> None:
        """No news is good news."""

    started = time.monotonic()
    outcomes = await run_checks(
        {"a": lambda: True, "b": silent, "c": raising, "d": refusing, "e": hanging, "f": hanging}, 0.05
    )
    assert outcomes == {"a": "ok", "b": "ok", "c": "failed", "d": "failed", "e": "timeout", "f": "timeout"}
    assert time.monotonic() - started < 10


async def test_metrics_are_in_the_text_format(hub: InProcessHub) -> None:
    await hub.http.post("/api/topics/plain:a", content="x")
    response = await hub.http.get("/metrics")
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "hub_publications_total" in response.text
