"""What a topic pattern, a handler, a schedule and a socket may say: the same shape in a manifest and in hub.yaml."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

from hub.errors import TopicError
from hub.settings.values import (
    CallableName,
    CallableNames,
    Duration,
    HandlerName,
    HandlerNames,
    Size,
    one_or_many,
)
from hub.topics import Pattern

_RULE_WORDS = ("anyone", "authenticated", "nobody", "token", "handler")
_RULE_FORM = r"^(role:.+|user:\{[A-Za-z_]\w*\})$"
_CALLER_WORDS = ("anyone", "authenticated", "nobody")
_CALLER_FORM = r"^role:.+$"
_SLOW_FORM = r"^conflate:[\w.\-]+$"


class Strict(BaseModel):
    """The base of every settings section: unknown keys are errors, and instances do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


def _rule(value: str) -> str:
    if value not in _RULE_WORDS and not re.fullmatch(_RULE_FORM, value):
        raise ValueError(
            "a rule is anyone, authenticated, nobody, token, handler, role:<value> or user:{placeholder}; "
            f"found {value!r}"
        )
    return value


def _caller_rule(value: str) -> str:
    if value not in _CALLER_WORDS and not re.fullmatch(_CALLER_FORM, value):
        raise ValueError(f"who may call is anyone, authenticated, nobody or role:<value>; found {value!r}")
    return value


def _pattern(value: str) -> str:
    try:
        return Pattern.parse(value).text
    except TopicError as error:
        raise ValueError(str(error)) from error


def _slow(value: str) -> str:
    if value in {"disconnect", "drop_oldest"} or re.fullmatch(_SLOW_FORM, value):
        return value
    raise ValueError(f"slow is disconnect, drop_oldest or conflate:<field>; found {value!r}")


Rule = Annotated[
    str,
    AfterValidator(_rule),
    WithJsonSchema({"anyOf": [{"enum": list(_RULE_WORDS)}, {"type": "string", "pattern": _RULE_FORM}]}),
]
Rules = Annotated[list[Rule], one_or_many(Rule), Field(min_length=1)]
CallerRule = Annotated[
    str,
    AfterValidator(_caller_rule),
    WithJsonSchema({"anyOf": [{"enum": list(_CALLER_WORDS)}, {"type": "string", "pattern": _CALLER_FORM}]}),
]
CallerRules = Annotated[list[CallerRule], one_or_many(CallerRule), Field(min_length=1)]
Slow = Annotated[
    str,
    AfterValidator(_slow),
    WithJsonSchema(
        {"anyOf": [{"enum": ["disconnect", "drop_oldest"]}, {"type": "string", "pattern": _SLOW_FORM}]}
    ),
]
PatternText = Annotated[str, AfterValidator(_pattern)]


class AllowSettings(Strict):
    """Who may do what on the topic; each takes one rule or a list of which one must admit."""

    subscribe: Rules = Field(["nobody"], description="Who may subscribe.")
    publish: Rules = Field(["nobody"], description="Who may publish.")
    presence: Rules | None = Field(None, description="Who may read presence; unset: whoever may subscribe.")
    history: Rules | None = Field(None, description="Who may read history; unset: whoever may subscribe.")


class HistorySettings(Strict):
    """How much of the topic is kept; switching it on gives publications positions, and clients recovery."""

    size: int = Field(100, ge=1, le=100_000, description="Publications kept per topic.")
    ttl: Duration = Field(300.0, description="How long each is kept.", gt=0)
    meta_ttl: Duration = Field(
        2_592_000.0,
        description="How long the position outlives the last publication.",
        gt=0,
        validate_default=True,
    )

    @model_validator(mode="after")
    def _meta_outlives_list(self) -> HistorySettings:
        if self.meta_ttl < self.ttl:
            raise ValueError(
                "meta_ttl must not be shorter than ttl, or offsets would restart under kept publications"
            )
        return self


class TopicHandlers(Strict):
    """What is run on events of the topic, in order: `module:function`, or the https:// URL of a webhook."""

    subscribe: HandlerNames | None = Field(None, description="Before a subscription is made; may refuse it.")
    unsubscribe: HandlerNames | None = Field(None, description="After a subscription ended.")
    publish: HandlerNames | None = Field(
        None, description="Before a publication is sent; may change or refuse it."
    )


class TopicSettings(Strict):
    """What holds for every topic that the pattern matches; what is unset keeps the manifest's or the default value."""

    allow: AllowSettings | None = Field(None, description="Permissions; unset: nobody but the server.")
    history: HistorySettings | None = Field(None, description="Unset or null: nothing is kept.")
    presence: bool | None = Field(None, description="Whether the hub knows who is subscribed.")
    join_leave: bool | None = Field(None, description="Whether subscribers are told who comes and goes.")
    leave_grace: Duration | None = Field(
        None,
        ge=0,
        le=60,
        description="How long a leave is held back after a lost connection, in case the user comes back.",
    )
    recovery: Literal["stream", "cache", "off"] | None = Field(
        None,
        description="stream: all that was missed; cache: the latest publication only; "
        "off: positions without recovery.",
    )
    publish_wait: Duration | None = Field(
        None,
        ge=0,
        le=60,
        description="How long a publication waits for a broker that is away; 0: it is refused at once.",
    )
    schema_: str | dict[str, Any] | None = Field(
        None, alias="schema", description="JSON Schema of the payload, inline or a file beside this one."
    )
    slow: Slow | None = Field(
        None, description="For clients that read too slowly: disconnect, drop_oldest or conflate:<field>."
    )
    delta: bool | None = Field(
        None, description="Whether clients may ask for differences of payloads (up to 64 KiB); needs history."
    )
    filter: bool | None = Field(
        None, description="Whether clients may ask for publications with certain tags only."
    )
    max_bytes: Size | None = Field(None, description="Largest payload.", ge=1)
    handlers: TopicHandlers | None = Field(None, description="Functions run on events of the topic.")


class GlobalHandlers(Strict):
    """What is run on events of sessions and of the hub; connect and disconnect take URLs of webhooks too."""

    connect: HandlerNames | None = Field(None, description="Before a session is admitted; may refuse it.")
    disconnect: HandlerNames | None = Field(None, description="After a session ended.")
    message: CallableNames | None = Field(None, description="A message that a client sent outside any topic.")
    start: CallableNames | None = Field(None, description="When the hub starts.")
    stop: CallableNames | None = Field(None, description="When the hub stops.")


class RpcSettings(Strict):
    """A function that clients call by name, and which clients may."""

    run: HandlerName = Field(
        description="The function, module:function, or the URL of a webhook. Without rules it may stand alone, "
        "as `name: module:function`."
    )
    allow: CallerRules | None = Field(None, description="Who may call it; unset: everybody who is connected.")


def _run_alone(value: Any) -> Any:
    return {"run": value} if isinstance(value, str) else value


Rpc = Annotated[RpcSettings, BeforeValidator(_run_alone, json_schema_input_type=HandlerName | RpcSettings)]
"""A function by its name alone, or with what else is said of it."""


class ScheduleSettings(Strict):
    """A function run again and again."""

    every: Duration = Field(description="Seconds between runs.", ge=0.05)
    run: CallableName = Field(description="The function: module:function.")
    topic: str | None = Field(
        None, description="Run only while this topic has subscribers: on the node, or with `once` on any."
    )
    once: bool = Field(
        False, description="Run on one node of the cluster at a time; another takes over when it is gone."
    )


class SocketSettings(Strict):
    """A plain path that is a topic's socket."""

    topic: str = Field(
        description="The topic; {connection} stands for the session's id, {user} for the user's."
    )


class Declarations(Strict):
    """What both a manifest and the operator's file may declare."""

    topics: dict[PatternText, TopicSettings] = Field(
        default_factory=dict, description="Options by topic pattern; the most specific pattern wins."
    )
    handlers: GlobalHandlers = Field(
        default_factory=GlobalHandlers, description="Functions run on events of sessions and of the hub."
    )
    rpc: dict[str, Rpc] = Field(default_factory=dict, description="Functions that clients call by name.")
    schedule: dict[str, ScheduleSettings] = Field(
        default_factory=dict, description="Functions run again and again."
    )
