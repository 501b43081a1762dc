"""Topics by pattern: a manifest's options, what the operator's file changes in them, and the handlers of both.

The operator changes a plugin's topic by writing the very same pattern. Options are then taken one by one: each action
of `allow` and each value of `history` by itself, everything else whole; null takes an option back to its default. The
operator's handlers run before the plugin's, so that what they refuse never reaches it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from hub.errors import TopicError
from hub.handlers import Handler, TopicRule
from hub.loader.declarant import Declarant
from hub.loader.payload import payload_schema
from hub.model import HistoryOptions, SlowPolicy, TopicOptions
from hub.settings.problem import ConfigCode, Fault
from hub.settings.topic import AllowSettings, TopicSettings
from hub.topics import Pattern, PatternTable, check_topic

_EVENTS: Final = ("subscribe", "unsubscribe", "publish")
_DECIDED_BY_HANDLERS: Final = ("subscribe", "publish")
_ACTIONS: Final = ("subscribe", "publish", "presence", "history")
_BY_KEY: Final = frozenset({"allow", "history", "handlers"})
"""Options whose values are taken one by one."""
_DEFAULTS: Final = TopicOptions("")


@dataclass(frozen=True, slots=True)
class Claim:
    """A pattern in one declarant's file."""

    declarant: Declarant
    pattern: Pattern

    @property
    def settings(self) -> TopicSettings:
        """What the file says of it."""
        return self.declarant.declares.topics[self.pattern.text]

    @property
    def loc(self) -> tuple[str, str]:
        """Where it stands in the file."""
        return ("topics", self.pattern.text)

    @property
    def said(self) -> dict[str, Any]:
        """What the file says and nothing of what it leaves out."""
        return self.settings.model_dump(exclude_unset=True, by_alias=True, exclude={"handlers"})

    def says(self, *path: str) -> bool:
        """Whether the file says something at a place below the pattern."""
        said: Any = self.said
        for part in path:
            if not isinstance(said, dict) or part not in said:
                return False
            said = said[part]
        return True

    def say(self, path: tuple[str | int, ...], code: ConfigCode, message: str, remedy: str = "") -> None:
        """Reports what is wrong at a place below the pattern."""
        self.declarant.say((*self.loc, *path), Fault(code, message, remedy))


@dataclass(frozen=True, slots=True)
class DeclaredTopics:
    """All patterns with what holds under them.

    `complete` is false when some are missing because of other mistakes; then no topic can be said to lack a pattern.
    """

    table: PatternTable[TopicRule]
    complete: bool

    def unfit(self, topic: str) -> Fault | None:
        """Why a topic that the configuration names can have no subscribers; None when it can."""
        try:
            check_topic(topic)
        except TopicError as error:
            return Fault(ConfigCode.BAD_PATTERN, str(error))
        if not self.complete or self.table.find(topic) is not None:
            return None
        remedy = "Declare a pattern for it under topics, or mend its name."
        return Fault(ConfigCode.UNDECLARED_TOPIC, f"no pattern matches the topic `{topic}`", remedy)


def declared_topics(declarants: Iterable[Declarant], *, complete: bool) -> DeclaredTopics:
    """Every topic of the plugins, in their order, and of the operator, who comes last."""
    claims: dict[str, list[Claim]] = {}
    for declarant in declarants:
        for text in declarant.declares.topics:
            _claim(claims, Claim(declarant, Pattern.parse(text)))
    table = PatternTable((found[0].pattern, _rule(found)) for found in claims.values())
    return DeclaredTopics(table, complete)


def _claim(claims: dict[str, list[Claim]], claim: Claim) -> None:
    """Admits a claim when it is the first of its shape, or the operator's on a plugin's very pattern."""
    others = claims.setdefault(claim.pattern.shape, [])
    if not others or (others[0].pattern.text == claim.pattern.text and not claim.declarant.owner):
        others.append(claim)
        return
    first = others[0]
    place = first.declarant.verdict.document.place(first.loc)
    owner = f"plugin {first.declarant.owner}" if first.declarant.owner else "this file"
    message = f"it matches the same topics as `{first.pattern.text}` of {owner} at {place}"
    if claim.declarant.owner:
        remedy = "Two plugins cannot share a pattern: switch one of them off, or give its topics another beginning."
    else:
        remedy = f"Write `{first.pattern.text}` to change that topic's options, or merge the two."
    claim.declarant.say(claim.loc, Fault(ConfigCode.TOPIC_CLASH, message, remedy), at_key=True)


def _rule(claims: list[Claim]) -> TopicRule:
    operator_first = sorted(claims, key=lambda claim: bool(claim.declarant.owner))
    handlers = {event: tuple(_handlers(operator_first, event)) for event in _EVENTS}
    settings = _merged(claims)
    for claim in claims:
        _check_rules(claim)
    _check_handlers(operator_first, settings.allow or AllowSettings(), handlers)
    if settings.history is None:
        _check_without_history(operator_first, settings)
    return TopicRule(_options(claims, operator_first, settings), **handlers, origins=_origins(claims))


def _origins(claims: list[Claim]) -> Mapping[str, str]:
    """Where the pattern stands, and whose word counts for each of its options: the operator's, who comes last."""
    found = {"": str(claims[0].declarant.verdict.document.place(claims[0].loc))}
    for claim in claims:
        for option, value in claim.settings.model_dump(exclude_unset=True, by_alias=True).items():
            parts = option in _BY_KEY and isinstance(value, dict)
            paths: list[tuple[str, ...]] = [(option, key) for key in value] if parts else [(option,)]
            for path in paths:
                at = ".".join(path)
                place = str(claim.declarant.verdict.document.place((*claim.loc, *path)))
                # Handlers of both run, the operator's first.
                found[at] = f"{place}, {found[at]}" if option == "handlers" and at in found else place
    return found


def _handlers(claims: list[Claim], event: str) -> Iterable[Handler]:
    for claim in claims:
        names = getattr(claim.settings.handlers, event, None)
        yield from claim.declarant.handlers(names, event, (*claim.loc, "handlers", event))


def _merged(claims: list[Claim]) -> TopicSettings:
    merged: dict[str, Any] = {}
    for claim in claims:
        for key, value in claim.said.items():
            below = merged.get(key)
            if key in {"allow", "history"} and isinstance(below, dict) and isinstance(value, dict):
                merged[key] = {**below, **value}
            else:
                merged[key] = value
    try:
        return TopicSettings.model_validate(merged)
    except ValidationError as error:
        # Each file is valid by itself, so only what the two say together can be wrong: the times of the history.
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        claims[-1].say(("history",), ConfigCode.CONFLICTING_SETTINGS, f"with what the plugin says, {message}")
        return claims[0].settings


def _check_rules(claim: Claim) -> None:
    """`user:{name}` must name a capture, and only events that have handlers can leave it to them."""
    allow = claim.settings.allow
    for action in _ACTIONS:
        rules = getattr(allow, action, None) if claim.says("allow", action) else None
        for number, rule in enumerate(rules or ()):
            word, _, value = rule.partition(":")
            if word == "user" and value[1:-1] not in claim.pattern.names:
                captures = ", ".join(f"{{{name}}}" for name in claim.pattern.names) or "none"
                claim.say(
                    ("allow", action, number),
                    ConfigCode.BAD_RULE,
                    f"{value} is no placeholder of the pattern `{claim.pattern.text}`",
                    f"Placeholders of the pattern: {captures}.",
                )
            if rule == "handler" and action not in _DECIDED_BY_HANDLERS:
                message = f"no handler decides about {action}"
                claim.say(("allow", action, number), ConfigCode.BAD_RULE, message, "Name another rule.")


def _check_without_history(operator_first: list[Claim], settings: TopicSettings) -> None:
    if settings.recovery in {"cache", "off"}:
        _says(operator_first, "recovery").say(
            ("recovery",),
            ConfigCode.CONFLICTING_SETTINGS,
            "recovery from the cache needs a history to keep the latest publication in"
            if settings.recovery == "cache"
            else "positions need a history, also where nobody may recover from it",
            "Add `history: {size: 1, ttl: 1h}`, or remove recovery.",
        )
    if settings.delta:
        _says(operator_first, "delta").say(
            ("delta",),
            ConfigCode.CONFLICTING_SETTINGS,
            "differences need a history, so that a client knows what they are against",
            "Add `history: {size: 100, ttl: 5m}`, or remove delta.",
        )


def _check_handlers(
    claims: list[Claim], allow: AllowSettings, handlers: Mapping[str, tuple[Handler, ...]]
) -> None:
    for event in _DECIDED_BY_HANDLERS:
        named = any(getattr(claim.settings.handlers, event, None) for claim in claims)
        if "handler" in getattr(allow, event) and not named and not handlers[event]:
            _says(claims, "allow", event).say(
                ("allow", event),
                ConfigCode.BAD_RULE,
                f"`handler` leaves it to the {event} handler, and the topic has none",
                f"Add one under handlers.{event}, or name another rule.",
            )


def _says(claims: list[Claim], *path: str) -> Claim:
    """Whose word counts at a place: the first claim that says something there."""
    return next((claim for claim in claims if claim.says(*path)), claims[0])


def _options(claims: list[Claim], operator_first: list[Claim], settings: TopicSettings) -> TopicOptions:
    allow = settings.allow or AllowSettings()
    rules = {action: getattr(allow, action) for action in _ACTIONS}
    slow, _, field = (settings.slow or _DEFAULTS.slow).partition(":")
    history = settings.history
    policies: dict[str, SlowPolicy] = {"drop_oldest": "drop_oldest", "conflate": "conflate"}
    return TopicOptions(
        pattern=claims[0].pattern.text,
        owner=claims[0].declarant.owner,
        allow={action: tuple(found) for action, found in rules.items() if found is not None},
        history=HistoryOptions(history.size, history.ttl, history.meta_ttl) if history else None,
        presence=settings.presence or False,
        join_leave=settings.join_leave or False,
        leave_grace=settings.leave_grace or 0.0,
        recovery=settings.recovery or _DEFAULTS.recovery,
        publish_wait=settings.publish_wait or 0.0,
        slow=policies.get(slow, "disconnect"),
        conflate=field,
        delta=settings.delta or False,
        filter=settings.filter or False,
        max_bytes=settings.max_bytes or _DEFAULTS.max_bytes,
        schema=_schema(_says(operator_first, "schema")),
    )


def _schema(claim: Claim) -> Mapping[str, Any] | None:
    if claim.settings.schema_ is None:
        return None
    found = payload_schema(claim.settings.schema_, claim.declarant.folder)
    if isinstance(found, Fault):
        claim.declarant.say((*claim.loc, "schema"), found)
        return None
    return found
