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
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from hub.auth import capabilities
from hub.model import Identity, TopicOptions

_ASK_HANDLERS: Final = frozenset({"subscribe", "publish"})
_LIKE_SUBSCRIBE: Final = frozenset({"presence", "history"})


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
class _Question:
    identity: Identity
    action: str
    topic: str
    params: Mapping[str, str]
    handlers_decide: bool


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
    rules = options.allow.get(action)
    if rules is None and action in _LIKE_SUBSCRIBE:
        rules = options.allow.get("subscribe")
    if not rules:
        return _refused(action, ())
    question = _Question(identity, action, topic, params, handlers_decide)
    for rule in rules:
        if _admits(rule, question):
            return _admitted(rule)
    return _refused(action, rules)


def _admits(rule: str, question: _Question) -> bool:
    word, _, value = rule.partition(":")
    check = _CHECKS.get(word)
    return check is not None and check(value, question)


def _role(value: str, question: _Question) -> bool:
    return question.identity.has_role(value)


def _user(placeholder: str, question: _Question) -> bool:
    user = question.identity.user
    return bool(user) and question.params.get(placeholder[1:-1]) == user


def _token(_: str, question: _Question) -> bool:
    identity = question.identity
    return any(
        question.action in actions and capabilities.covers(pattern, question.topic, identity.user)
        for pattern, actions in identity.topics.items()
    )


_CHECKS: Final[Mapping[str, Callable[[str, _Question], bool]]] = {
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


@lru_cache(maxsize=1_024)
def _refused(action: str, rules: tuple[str, ...]) -> Decision:
    if not rules:
        return Decision(False, f"nobody may {action}: the topic has no rule for it")
    return Decision(False, f"none of the rules for {action} admits: {', '.join(rules)}")
