"""What each event calls its handlers with, and whether a function can be called so."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any, Final

from hub.settings.problem import ConfigCode, Fault

PARAMETERS: Final = {
    "connect": ("ctx",),
    "disconnect": ("ctx",),
    "message": ("ctx", "data"),
    "publish": ("ctx", "pub"),
    "rpc": ("ctx", "data"),
    "schedule": ("ctx",),
    "start": ("ctx",),
    "stop": ("ctx",),
    "subscribe": ("ctx",),
    "unsubscribe": ("ctx",),
}
"""The arguments of every event's handlers, as the table in `hub.plugin` has them."""


def misfit(function: Any, event: str) -> Fault | None:
    """Why a function cannot handle an event: not callable, not async, or other parameters; None when it can."""
    wanted = f"async def {getattr(function, '__name__', 'handler')}({', '.join(PARAMETERS[event])})"
    remedy = f"Write `{wanted}`."
    if not callable(function):
        return Fault(ConfigCode.WRONG_SIGNATURE, f"it is a {type(function).__name__}, not a function", remedy)
    if not _is_async(function):
        what = "a class" if isinstance(function, type) else "not async"
        what = "an async generator, for it has a `yield`" if inspect.isasyncgenfunction(function) else what
        return Fault(ConfigCode.WRONG_SIGNATURE, f"it is {what}", remedy)
    signature = inspect.signature(function)
    try:
        signature.bind(*PARAMETERS[event])
    except TypeError:
        called = f"({', '.join(PARAMETERS[event])})"
        shown = f"({', '.join(map(_shown, signature.parameters.values()))})"
        message = f"it takes {shown}, and {event} calls it with {called}"
        return Fault(ConfigCode.WRONG_SIGNATURE, message, remedy)
    return None


def _is_async(function: Any) -> bool:
    while isinstance(function, partial):
        function = function.func
    call = None if isinstance(function, type) else getattr(type(function), "__call__", None)  # noqa: B004
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def _shown(parameter: inspect.Parameter) -> str:
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    prefix = next((star for kind, star in stars.items() if kind is parameter.kind), "")
    optional = "" if parameter.default is inspect.Parameter.empty else "=…"
    return f"{prefix}{parameter.name}{optional}"
