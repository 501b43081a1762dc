"""May this identity do this to this topic: the `allow` rules of the configuration.

An action (`subscribe`, `publish`, `presence`, `history`) has a list of rules, and one that admits is enough. Without
rules of their own, presence and history go by those of subscribe; without rules nobody may subscribe or publish.

`anyone`          everybody, the anonymous user too
`authenticated`   everybody with a name
`nobody`          no one
`role:<value>`    whose claim `role` equals the value, or whose list `roles` holds it
`user:{name}`     whose own name is the topic's capture `name`
`token`           whose token's capabilities cover the topic for the action; they count under this rule alone
`handler`         whoever the topic's handler of this event lets in: it is asked next; nobody where there is none

Two marks in a topic's own name stand before all rules, and only take away:

`$` at its beginning   nobody may subscribe by rules, only with a subscription token; presence and history of such a
                       topic do not go by the rules of subscribe, but by their own
`#` anywhere           for the users alone whose names stand behind the last one, with commas between, whatever they do

What a subscription token grants, or the server, is not asked here. `hub.auth.explanation` tells the same in words, by
the same checks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from hub.auth import capabilities
from hub.model import Identity, TopicOptions

PRIVATE: Final = "$"
LIMITED: Final = "#"
ACTIONS: Final = ("subscribe", "publish", "presence", "history")
"""What may be done to a topic. An `rpc` has rules as well, and no topic."""
_ASK_HANDLERS: Final = frozenset({"subscribe", "publish"})
LIKE_SUBSCRIBE: Final = frozenset({"presence", "history"})
"""Actions that go by the rules of subscribe unless they have some of their own."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether an action is allowed; `rule` is the one that admitted, or the sentence why none did.

    A decision is as true as its `allowed`.
    """

    allowed: bool
    rule: str

    def __bool__(self) -> bool:
        return self.allowed


@dataclass(slots=True)
class Question:
    """What is asked: may this identity do this to this topic, whose pattern has captured `params`."""

    identity: Identity
    action: str
    topic: str
    params: Mapping[str, str]
    handlers_decide: bool
    """Whether the topic has a handler for the event of this action."""


def allowed(
    identity: Identity,
    action: str,
    topic: str,
    options: TopicOptions,
    params: Mapping[str, str],
    *,
    handlers_decide: bool,
) -> Decision:
    """Decides on an action: `options` and `params` are those of the pattern that matched the topic.

    `handlers_decide` says whether the topic has a handler for the event of this action.
    """
    question = Question(identity, action, topic, params, handlers_decide)
    if LIMITED in topic or topic[:1] == PRIVATE:
        for mark in MARKS.values():
            if not mark.check(question):
                return _refused_by(mark.refusal)
    _, rules = rules_for(options, action, topic)
    for rule in rules:
        if admits(rule, question):
            return _admitted(rule)
    return _refused(action, rules)


def callable_by(identity: Identity, rules: Iterable[str] | None) -> bool:
    """Whether an identity may call a method; without rules everybody who is connected may."""
    if rules is None:
        return True
    question = Question(identity, "rpc", "", {}, handlers_decide=False)
    return any(admits(rule, question) for rule in rules)


def rules_for(options: TopicOptions, action: str, topic: str) -> tuple[str, tuple[str, ...]]:
    """The rules that count for an action, and the action whose rules they are."""
    rules = options.allow.get(action)
    if rules is None and action in LIKE_SUBSCRIBE and topic[:1] != PRIVATE:
        return "subscribe", options.allow.get("subscribe", ())
    return action, rules or ()


def admits(rule: str, question: Question) -> bool:
    """Whether one rule admits; what is no rule admits nobody."""
    word, _, value = rule.partition(":")
    check = _CHECKS.get(word)
    return check is not None and check(value, question)


def named_users(topic: str) -> list[str]:
    """The users whose names stand behind the last `#` of a topic."""
    return topic.rpartition(LIMITED)[2].split(",")


class Mark(NamedTuple):
    """What a mark in a topic's name asks for, and the sentence for who does not meet it."""

    check: Callable[[Question], bool]
    refusal: str


def _may_be_private(question: Question) -> bool:
    return question.topic[:1] != PRIVATE or question.action != "subscribe"


def _is_named(question: Question) -> bool:
    user = question.identity.user
    return LIMITED not in question.topic or (bool(user) and user in named_users(question.topic))


MARKS: Final[Mapping[str, Mark]] = {
    PRIVATE: Mark(
        _may_be_private, "a topic that begins with $ takes a subscription token, whatever its rules"
    ),
    LIMITED: Mark(_is_named, "the topic is for the users named behind its # alone, whatever its rules"),
}
"""What stands before all rules. A topic without a mark passes it."""


def _role(value: str, question: Question) -> bool:
    return question.identity.has_role(value)


def _user(placeholder: str, question: Question) -> bool:
    user = question.identity.user
    return bool(user) and question.params.get(placeholder[1:-1]) == user


def _token(_: str, question: Question) -> bool:
    identity = question.identity
    return any(
        question.action in actions and capabilities.covers(pattern, question.topic, identity.user)
        for pattern, actions in identity.topics.items()
    )


_CHECKS: Final[Mapping[str, Callable[[str, Question], bool]]] = {
    "anyone": lambda _, __: True,
    "authenticated": lambda _, question: not question.identity.anonymous,
    "nobody": lambda _, __: False,
    "role": _role,
    "user": _user,
    "token": _token,
    "handler": lambda _, question: question.handlers_decide and question.action in _ASK_HANDLERS,
}


@lru_cache(maxsize=1_024)
def _admitted(rule: str) -> Decision:
    return Decision(True, rule)


@lru_cache(maxsize=16)
def _refused_by(sentence: str) -> Decision:
    return Decision(False, sentence)


@lru_cache(maxsize=1_024)
def _refused(action: str, rules: tuple[str, ...]) -> Decision:
    if not rules:
        return Decision(False, f"nobody may {action}: the topic has no rule for it")
    return Decision(False, f"none of the rules for {action} admits: {', '.join(rules)}")
