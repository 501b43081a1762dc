"""All handlers by what they are for, from the declarations of the plugins and of the operator.

Where several handle one event, the operator's come first, so that what they refuse reaches no plugin; only at the start
they come last, when the plugins are ready. Plugins start in the order of their requirements and stop in the reverse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from hub.handlers import Handler, HandlerTable, Schedule
from hub.loader.declarant import Declarant
from hub.loader.topics import DeclaredTopics, declared_topics
from hub.settings.problem import ConfigCode, Fault
from hub.settings.topic import RpcSettings

Event: TypeAlias = Literal["connect", "disconnect", "message", "start", "stop"]


@dataclass(frozen=True, slots=True)
class Table:
    """The handlers, and the topics that they and everything else in the configuration may name."""

    handlers: HandlerTable
    topics: DeclaredTopics


def handler_table(plugins: Sequence[Declarant], operator: Declarant, *, all_declared: bool) -> Table:
    """The table; what cannot be resolved is reported by its declarant and left out.

    `all_declared` is false when declarations are missing because of mistakes that were reported.
    """
    topics = declared_topics([*plugins, operator], complete=all_declared)
    operator_first = [operator, *plugins]
    handlers = HandlerTable(
        topics=topics.table,
        connect=_on("connect", operator_first),
        disconnect=_on("disconnect", operator_first),
        message=_on("message", operator_first),
        start=_on("start", [*plugins, operator]),
        stop=_on("stop", [operator, *reversed(plugins)]),
        rpc=_rpc(plugins, operator),
        schedules=tuple(schedule for one in [*plugins, operator] for schedule in _schedules(one, topics)),
    )
    return Table(handlers, topics)


def _on(event: Event, declarants: Sequence[Declarant]) -> tuple[Handler, ...]:
    return tuple(
        handler
        for one in declarants
        for handler in one.handlers(getattr(one.declares.handlers, event), event, ("handlers", event))
    )


def _rpc(plugins: Sequence[Declarant], operator: Declarant) -> Mapping[str, Handler]:
    """Methods by name; the operator's replace those of plugins, while two plugins may not share one."""
    found: dict[str, Handler] = {}
    owners: dict[str, Declarant] = {}
    for one in [*plugins, operator]:
        for method, settings in one.declares.rpc.items():
            loc = ("rpc", method)
            if one.owner and method in owners:
                place = owners[method].verdict.document.place(loc)
                message = f"plugin {owners[method].owner} has a method of this name too, at {place}"
                remedy = "Rename one, or switch one of the plugins off."
                one.say(loc, Fault(ConfigCode.CONFLICTING_SETTINGS, message, remedy), at_key=True)
                continue
            owners[method] = one
            handler = one.handler(settings.run, "rpc", (*loc, "run"))
            if handler is not None:
                origin = str(one.verdict.document.place(loc))
                found[method] = replace(handler, allow=_rules(settings), origin=origin)
    return found


def _rules(settings: RpcSettings) -> tuple[str, ...] | None:
    return None if settings.allow is None else tuple(settings.allow)


def _schedules(one: Declarant, topics: DeclaredTopics) -> list[Schedule]:
    found = []
    for name, settings in one.declares.schedule.items():
        loc = ("schedule", name)
        if settings.topic is not None and (fault := _no_single_topic(settings.topic, topics)) is not None:
            one.say((*loc, "topic"), fault)
        handler = one.handler(settings.run, "schedule", (*loc, "run"))
        if handler is not None:
            full = f"{one.owner}:{name}" if one.owner else name
            found.append(Schedule(full, settings.every, handler, settings.topic, settings.once))
    return found


def _no_single_topic(topic: str, topics: DeclaredTopics) -> Fault | None:
    if "{" in topic or "}" in topic:
        message = f"a schedule names one topic, and `{topic}` is a pattern"
        return Fault(ConfigCode.BAD_PATTERN, message, "Write a topic without placeholders.")
    return topics.unfit(topic)
