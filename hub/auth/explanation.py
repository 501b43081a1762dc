"""Why the rules allow something or do not: each mark, rule and capability in order, with what it says and why.

It asks the very checks that decide (`hub.auth.rules`), all of them where a decision stops at the first that admits;
only the words are added here. Nothing in them comes from a token but names, roles and patterns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from hub.auth import capabilities
from hub.auth.rules import (
    LIKE_SUBSCRIBE,
    LIMITED,
    MARKS,
    PRIVATE,
    Question,
    admits,
    named_users,
    rules_for,
)
from hub.model import Identity, TopicOptions

MAX_SHOWN: Final = 20
"""Names in one sentence."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was considered: whether it admits, and why."""

    what: str
    admits: bool
    why: str


@dataclass(frozen=True, slots=True)
class Reasons:
    """All that the rules say of one question.

    `marks` stand before all rules and each must admit; of `rules`, which are those of action `rules_of`, one must.
    `capabilities` are the patterns of the token, which count where a rule is `token`.
    """

    allowed: bool
    sentence: str
    rules_of: str
    marks: tuple[Step, ...] = ()
    rules: tuple[Step, ...] = ()
    capabilities: tuple[Step, ...] = ()


def reasons(question: Question, options: TopicOptions) -> Reasons:
    """What the options of a topic's pattern say; allowed exactly where `hub.auth.rules.allowed` allows."""
    topic = question.topic
    marks = tuple(
        _mark(mark, question) for mark in MARKS if topic[:1] == mark or (mark in topic and mark == LIMITED)
    )
    rules_of, rules = rules_for(options, question.action, topic)
    steps = tuple(_rule(rule, question) for rule in rules)
    found = tuple(_capability(pattern, question) for pattern in question.identity.topics)
    against = next((mark for mark in marks if not mark.admits), None)
    by = next((step for step in steps if step.admits), None)
    if against is not None:
        sentence = against.why
    elif by is not None:
        sentence = f"the rule `{by.what}` admits: {by.why}"
    elif steps:
        sentence = f"none of the rules for {rules_of} admits"
    elif question.action in LIKE_SUBSCRIBE and topic[:1] == PRIVATE:
        sentence = (
            f"a topic that begins with $ needs rules of its own for {question.action}, and there are none"
        )
    else:
        sentence = f"the topic has no rule for {question.action}"
    return Reasons(against is None and by is not None, sentence, rules_of, marks, steps, found)


def call_reasons(identity: Identity, rules: Iterable[str] | None) -> Reasons:
    """What the rules of a method say; allowed exactly where `hub.auth.rules.callable_by` allows."""
    if rules is None:
        return Reasons(True, "the method has no rules, so everybody who is connected may call it", "rpc")
    question = Question(identity, "rpc", "", {}, handlers_decide=False)
    steps = tuple(_rule(rule, question) for rule in rules)
    by = next((step for step in steps if step.admits), None)
    sentence = f"the rule `{by.what}` admits: {by.why}" if by else "none of the rules of the method admits"
    return Reasons(by is not None, sentence, "rpc", rules=steps)


def _mark(mark: str, question: Question) -> Step:
    if not MARKS[mark].check(question):
        return Step(mark, False, MARKS[mark].refusal)
    if mark == PRIVATE:
        return Step(mark, True, f"it asks for a token to subscribe, not to {question.action}")
    return Step(
        mark, True, f"{question.identity.user} is one of {_list(named_users(question.topic), 'nobody')}"
    )


def _rule(rule: str, question: Question) -> Step:
    word, _, value = rule.partition(":")
    words = _WORDS.get(word)
    admitted = admits(rule, question)
    return Step(rule, admitted, words(value, question, admitted) if words else "there is no such rule")


def _authenticated(_: str, question: Question, admitted: bool) -> str:
    return f"it is {question.identity.user}" if admitted else "it is the anonymous user, who has no name"


def _role(value: str, question: Question, admitted: bool) -> str:
    if admitted:
        return f"the claims give the role {value}"
    claims = question.identity.claims
    listed = claims.get("roles")
    roles = [claims.get("role"), *(listed if isinstance(listed, list) else ())]
    return f"the claims give {_list((role for role in roles if isinstance(role, str)), 'no role')}"


def _user(placeholder: str, question: Question, admitted: bool) -> str:
    found, user = question.params.get(placeholder[1:-1]), question.identity.user
    if not user:
        return f"{placeholder} is {found}, and the anonymous user has no name"
    return f"{placeholder} is {found}" + ("" if admitted else f", and the user is {user}")


def _token(_: str, question: Question, admitted: bool) -> str:
    identity = question.identity
    if admitted:
        by = next(text for text in identity.topics if _capability(text, question).admits)
        return f"`{by}` in the token's `topics` covers it"
    if not identity.topics:
        return "the token grants no topics (claim `topics`)"
    return f"none of the patterns in the token's `topics` covers it for {question.action}"


def _handler(_: str, question: Question, admitted: bool) -> str:
    if admitted:
        return "it is left to the handler"
    if question.action in LIKE_SUBSCRIBE:
        return f"no handler decides about {question.action}"
    return f"the topic has no handler of {question.action}"


_WORDS: Final[Mapping[str, Callable[[str, Question, bool], str]]] = {
    "anyone": lambda _, __, ___: "everybody may",
    "authenticated": _authenticated,
    "nobody": lambda _, __, ___: "no client may by this rule",
    "role": _role,
    "user": _user,
    "token": _token,
    "handler": _handler,
}


def _capability(pattern: str, question: Question) -> Step:
    identity, action = question.identity, question.action
    actions = identity.topics[pattern]
    named = capabilities.bearer(pattern, question.topic)
    if named is None:
        return Step(pattern, False, "it does not match the topic")
    if named not in ("", identity.user):
        return Step(
            pattern, False, f"its {{sub}} takes {named}, and the user is {identity.user or 'anonymous'}"
        )
    if action not in actions:
        return Step(
            pattern, False, f"it matches, and grants {_list(sorted(actions), 'nothing')}, not {action}"
        )
    return Step(pattern, True, f"it matches and grants {action}")


def _list(names: Iterable[str], none: str) -> str:
    found = list(names)
    more = f" and {len(found) - MAX_SHOWN} more" if len(found) > MAX_SHOWN else ""
    return ", ".join(found[:MAX_SHOWN]) + more if found else none
