"""What a command line comes to: its exit status, and whatever went wrong told in words."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from typing import Any, Final

import click

from hub.cli.talk import fail, say
from hub.errors import BrokerError, HubError, StoreError

FAILED: Final = 1
USAGE: Final = 2
INVALID: Final = 3
UNREACHABLE: Final = 4
UNKNOWN: Final = 5
INTERRUPTED: Final = 130
DEBUG: Final = "HUB_DEBUG"


class UnreachableError(HubError):
    """No hub answers at the given URL."""


class UnknownOutcomeError(HubError):
    """What was asked for may have been done, or not."""


def outcome(work: Callable[[], Any]) -> int:
    """Does the work, which may return an exit status, and returns the status."""
    try:
        result = work()
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - the last one to tell it
        if os.environ.get(DEBUG):
            traceback.print_exc()
        return _told(error)
    return result if isinstance(result, int) else 0


def _told(error: Exception) -> int:
    if isinstance(error, HubError):
        return _told_of_the_hub(error)
    if isinstance(error, OSError) and error.strerror:
        fail(f"{error.filename}: {error.strerror}" if error.filename else error.strerror)
        return FAILED
    fail(f"the hub met a fault of its own: {type(error).__name__}: {error}")
    say(
        f"Run it again with --debug for the traceback{'' if not os.environ.get(DEBUG) else ' above'}, and report it."
    )
    return FAILED


def _told_of_the_hub(error: HubError) -> int:
    if _is_config_error(error):
        say(str(error))
        return INVALID
    if isinstance(error, UnreachableError):
        fail(str(error))
        return UNREACHABLE
    if isinstance(error, UnknownOutcomeError):
        fail(str(error))
        return UNKNOWN
    code = " (E301)" if isinstance(error, StoreError) else " (E210)" if isinstance(error, BrokerError) else ""
    fail(f"{error}{'.' if code else ''}{code}")
    return FAILED


def _is_config_error(error: HubError) -> bool:
    from hub.settings.problem import ConfigError

    return isinstance(error, ConfigError)
