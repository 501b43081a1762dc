"""What the settings of webhooks must keep to among themselves, and beside those of clients."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_network
from typing import Final

from hub.auth.requests import HIDDEN
from hub.auth.tokens import weak_secret
from hub.egress.addresses import METADATA
from hub.settings.case import Case
from hub.settings.problem import ConfigCode
from hub.webhooks.signing import PREFIX

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""What RFC 9110 calls a token, and RFC 6265 a cookie's name."""
_MAKE: Final = "`hub token secret --webhook` makes one."


def _secrets(case: Case) -> None:
    known: set[str] = set()
    for number, setting in enumerate(case.settings.webhooks.secrets):
        loc = ("webhooks", "secrets", number)
        secret = setting.get_secret_value()
        if secret in known:
            message = "it is there twice, so that a change of secrets would change nothing"
            case.say(loc, ConfigCode.CONFLICTING_SETTINGS, message, f"Keep one. {_MAKE}")
        known.add(secret)
        weak = weak_secret(secret.removeprefix(PREFIX))
        if weak and case.mode != "dev" and not case.settings.auth.jwt.insecure_secret:
            remedy = f"{_MAKE[:-1]}, or set auth.jwt.insecure_secret to true for a trial."
            case.say(loc, ConfigCode.WEAK_SECRET, f"the webhook secret is too weak: {weak}", remedy)


def _networks(case: Case) -> None:
    for number, text in enumerate(case.settings.webhooks.allow_networks):
        network = ip_network(text)
        if network.num_addresses == 1 and network.network_address in METADATA:
            case.say(
                ("webhooks", "allow_networks", number),
                ConfigCode.CONFLICTING_SETTINGS,
                "there a cloud hands out the credentials of its machines, and no setting opens it",
                "Take it out.",
            )


def _names(case: Case) -> None:
    webhooks = case.settings.webhooks
    for kind, names in (("headers", webhooks.headers), ("cookies", webhooks.cookies)):
        for number, name in enumerate(names):
            loc = ("webhooks", kind, number)
            if _NAME.fullmatch(name) is None:
                message = f"no {kind[:-1]} can have this name"
                example = "User-Agent" if kind == "headers" else "sessionid"
                case.say(loc, ConfigCode.WRONG_VALUE, message, f"Write one name, such as `{example}`.")
            elif kind == "headers" and name.lower() in HIDDEN:
                message = "this header speaks to the hub alone, and is never passed on"
                cookies = "Name the cookies that shall be shown in webhooks.cookies."
                remedy = cookies if name.lower() == "cookie" else "Take it out."
                case.say(loc, ConfigCode.CONFLICTING_SETTINGS, message, remedy)


def _patience(case: Case) -> None:
    webhooks, stale = case.settings.webhooks, case.settings.client.stale
    asked = any("://" in name for name in case.settings.handlers.connect or ())
    if asked and webhooks.timeout >= stale:
        case.say(
            ("webhooks", "timeout"),
            ConfigCode.CONFLICTING_SETTINGS,
            f"a client that is to be connected within {stale:g} s would be gone before a connect webhook is given up",
            "Make it shorter than client.stale, or client.stale longer.",
            ("client", "stale"),
        )


WEBHOOK_RULES: Final[tuple[Callable[[Case], None], ...]] = (_secrets, _networks, _names, _patience)
"""Each reports what breaks it."""
