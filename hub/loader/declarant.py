"""Who declares topics and handlers: a plugin by its manifest, or the operator by hub.yaml. Both speak alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from logging import Logger
from pathlib import Path
from typing import Any

from hub.handlers import Handler
from hub.loader.events import misfit
from hub.loader.names import BrokenModuleError, Names, UnresolvedNameError
from hub.settings.problem import ConfigCode, Fault
from hub.settings.report import Loc, Report
from hub.settings.topic import Declarations
from hub.settings.verdict import Verdict
from hub.webhooks.hooks import Webhooks


@dataclass(slots=True)
class Declarant:
    """One of those whose declarations make the handler table.

    `owner` is the plugin's name, "" for the operator. Relative paths that it names start at `folder`. `settings` are
    what its handlers find in their context. `webhooks` make handlers of URLs; None where their settings are
    wrong, which is told already.
    """

    owner: str
    verdict: Verdict[Any]
    declares: Declarations
    names: Names
    folder: Path
    log: Logger
    report: Report
    webhooks: Webhooks | None
    settings: Any = None
    _broken: set[str] = field(default_factory=set)

    def say(self, loc: Loc, fault: Fault, *, at_key: bool = False) -> None:
        """Reports what is wrong at a place in the declarant's own file."""
        self.report.add(self.verdict, loc, fault, at_key=at_key)

    def find(self, name: str, loc: Loc) -> Any:
        """What a name in the file leads to; None, after reporting it, when it leads nowhere."""
        try:
            return self.names.find(name)
        except UnresolvedNameError as error:
            self._unresolved(error, name, loc)
            return None

    def has_module(self, name: str, loc: Loc) -> bool:
        """Imports a module that the file names; false, after reporting it, when that fails."""
        try:
            self.names.module(name)
        except UnresolvedNameError as error:
            self._unresolved(error, name, loc)
            return False
        return True

    def handler(self, name: str, event: str, loc: Loc) -> Handler | None:
        """The handler that a name stands for; None, after reporting it, when it cannot handle the event."""
        if "://" in name:
            return self._webhook(name, event, loc)
        function = self.find(name, loc)
        if function is None:
            return None
        fault = misfit(function, event)
        if fault is not None:
            self.say(loc, Fault(fault.code, f"`{name}`: {fault.message}", fault.remedy))
            return None
        full = f"{self.owner}:{name}" if self.owner else name
        return Handler(full, self.owner, function, self.settings, self.log)

    def _webhook(self, url: str, event: str, loc: Loc) -> Handler | None:
        if self.webhooks is None:
            return None
        if not self.webhooks.signed:
            remedy = "Set webhooks.secrets to ${HUB_WEBHOOK_SECRET}; `hub token secret --webhook` makes one."
            message = "a webhook needs webhooks.secrets, so that it can tell who calls"
            self.say(loc, Fault(ConfigCode.MISSING_SETTING, message, remedy))
            return None
        try:
            label, function = self.webhooks.handler(url, event)
        except ValueError as error:
            remedy = "See webhooks.allow_http and webhooks.allow_networks."
            self.say(loc, Fault(ConfigCode.CONFLICTING_SETTINGS, str(error), remedy))
            return None
        full = f"{self.owner}:{label}" if self.owner else label
        # The webhook gives up by itself, and knows why.
        return Handler(full, self.owner, function, self.settings, self.log, self.webhooks.timeout + 1)

    def handlers(self, names: Sequence[str] | None, event: str, loc: Loc) -> tuple[Handler, ...]:
        """The handlers that a list of names stands for, without those that were reported."""
        found = [self.handler(name, event, (*loc, number)) for number, name in enumerate(names or ())]
        return tuple(handler for handler in found if handler is not None)

    def _unresolved(self, error: UnresolvedNameError, name: str, loc: Loc) -> None:
        module = name.partition(":")[0]
        if isinstance(error, BrokenModuleError):
            if module in self._broken:
                return
            self._broken.add(module)
        fault = error.fault
        self.say(loc, Fault(fault.code, f"cannot import `{name}`: {fault.message}", fault.remedy))
