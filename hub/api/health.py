"""Is the process alive, is it ready, and how is it doing: for load balancers, clusters and monitoring."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from hub.errors import HubError
from hub.protocol.http import NO_STORE

_log = logging.getLogger("hub.health")
CHECK_SECONDS: Final = 2.0
_PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"

Check = Callable[[], object]
"""Says no by returning False or by raising, at once or when awaited; anything else is a yes."""

Figures = Callable[[], Awaitable[bytes]]
"""Gives the metrics as text, or raises HubError when they cannot be had."""


async def run_checks(checks: Mapping[str, Check], seconds: float) -> dict[str, str]:
    """The outcome of each check by name: `ok`, `failed`, or `timeout` after so many seconds; all run at once."""
    outcomes = await asyncio.gather(*(_outcome(name, check, seconds) for name, check in checks.items()))
    return dict(zip(checks, outcomes, strict=True))


async def _outcome(name: str, check: Check, seconds: float) -> str:
    try:
        async with asyncio.timeout(seconds):
            answer = check()
            if inspect.isawaitable(answer):
                answer = await answer
    except TimeoutError:
        return "timeout"
    except Exception as error:  # noqa: BLE001 - whatever a part does, the others are to be heard
        _log.warning("not ready: %s: %s", name, error)
        return "failed"
    return "failed" if answer is False else "ok"


def health_routes(
    checks: Mapping[str, Check], *, metrics: Figures | None = None, seconds: float = CHECK_SECONDS
) -> list[BaseRoute]:
    """`/health/live`, `/health/ready` and `/health`, with `metrics` also `/metrics`, which is 503 when there are none.

    Ready is 200 when all checks say yes, else 503; the body names each: `{"status", "checks": {name: outcome}}`. What
    made a check fail is told to the log only, since everybody may ask.
    """

    async def live(_: Request) -> Response:
        return JSONResponse({"status": "ok"}, headers=NO_STORE)

    async def ready(_: Request) -> Response:
        outcomes = await run_checks(checks, seconds)
        good = all(outcome == "ok" for outcome in outcomes.values())
        body = {"status": "ok" if good else "unavailable", "checks": outcomes}
        return JSONResponse(body, 200 if good else 503, headers=NO_STORE)

    async def alive(_: Request) -> Response:
        return JSONResponse({}, headers=NO_STORE)

    routes: list[BaseRoute] = [
        Route("/health/live", live),
        Route("/health/ready", ready),
        Route("/health", alive),
    ]
    return [*routes, _metrics_route(metrics)] if metrics else routes


def _metrics_route(metrics: Figures) -> Route:
    async def figures(_: Request) -> Response:
        try:
            return Response(await metrics(), media_type=_PROMETHEUS, headers=NO_STORE)
        except HubError as error:
            return Response(f"{error}\n", 503, NO_STORE, "text/plain")

    return Route("/metrics", figures)
