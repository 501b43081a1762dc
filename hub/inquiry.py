"""Questions about permissions: may this client do that, what would it be told, and why.

One answer for all who ask: `hub explain` by a configuration alone, `POST /api/explain` and the developers' page by a
running node. It goes the way of a client: token, pattern, rules; handlers are named and never called.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from hub.auth import claims as read
from hub.auth.explanation import Reasons, Step, call_reasons, reasons
from hub.auth.revocations import Revocations
from hub.auth.rules import ACTIONS as TOPIC_ACTIONS
from hub.auth.rules import Question
from hub.auth.tokens import TokenVerifier
from hub.errors import (
    BAD_FRAME,
    INVALID_TOKEN,
    NOT_AVAILABLE,
    PERMISSION_DENIED,
    TOKEN_EXPIRED,
    UNKNOWN_TOPIC,
    Code,
    ExpiredToken,
    InvalidToken,
)
from hub.handlers import HandlerTable, TopicRule
from hub.model import ANONYMOUS, Identity
from hub.topics import check_topic

ACTIONS: Final = (*TOPIC_ACTIONS, "rpc")
_OFF: Final = {"presence": "presence is off", "history": "nothing is kept"}
_NOWHERE: Final = "the defaults"


@dataclass(frozen=True, slots=True)
class Asked:
    """A question: who (by `token`, by `user` and `claims`, or nobody by name) may do `action` to `topic`.

    For `rpc` the topic is the method's name. `subscription_token` is one that the client would bring along.
    """

    action: str
    topic: str
    token: str = field(default="", repr=False)
    user: str = ""
    claims: Mapping[str, Any] = field(default_factory=dict)
    subscription_token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What would come of it.

    `error` is the number that the client would get, 0 for none; `verdict` the sentence. `pattern` is the one that
    matched, with the place of its declaration and its captures; empty where none did. `who` tells whether the client
    would be let in at all. `handlers` run after the rules and may still refuse; `connect` ran when the client came, and
    may have named another user or refused it.
    """

    allowed: bool
    error: int
    verdict: str
    action: str
    topic: str
    user: str
    pattern: str = ""
    owner: str = ""
    origin: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    who: tuple[Step, ...] = ()
    rules_of: str = ""
    rules_origin: str = ""
    marks: tuple[Step, ...] = ()
    rules: tuple[Step, ...] = ()
    capabilities: tuple[Step, ...] = ()
    handlers: tuple[str, ...] = ()
    connect: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Refused(Exception):
    code: Code
    step: Step


class Inquiry:
    """Answers questions about one configuration.

    `verifier` is None where no key is configured; `anonymous` says whether clients without a token are let in.
    `revocations` are those of a running hub, None where there is none to ask.
    """

    def __init__(
        self,
        table: HandlerTable,
        verifier: TokenVerifier | None,
        *,
        anonymous: bool,
        revocations: Revocations | None = None,
    ) -> None:
        self._table = table
        self._verifier = verifier
        self._anonymous = anonymous
        self._revocations = revocations

    def answer(self, asked: Asked) -> Answer:
        """The answer. Raises TopicError for a name that no topic has, ValueError for an action that is none."""
        if asked.action not in ACTIONS:
            raise ValueError(f"what is done is one of {', '.join(ACTIONS)}")
        if asked.action != "rpc":
            check_topic(asked.topic)
        blank = Answer(False, 0, "", asked.action, asked.topic, asked.user)
        try:
            identity, step = self._identity(asked)
        except _Refused as refused:
            step = refused.step
            return replace(blank, error=refused.code.number, verdict=f"not let in: {step.why}", who=(step,))
        connect = tuple(handler.name for handler in self._table.connect)
        blank = replace(blank, user=identity.user, who=(step,), connect=connect)
        return (
            self._of_method(asked, identity, blank)
            if asked.action == "rpc"
            else self._of_topic(asked, identity, blank)
        )

    def _identity(self, asked: Asked) -> tuple[Identity, Step]:
        """Who asks, and why they are let in; raises _Refused where they are not."""
        if asked.token:
            what, good = "token", "the token is good"
        elif asked.user or asked.claims:
            what, good = "claims", "as if a token had named the user and held the claims"
        elif self._anonymous:
            return ANONYMOUS, Step("anonymous", True, "clients without a token are let in (auth.anonymous)")
        elif self._table.connect:
            why = (
                "clients without a token are let in only where a connect handler names them (auth.anonymous)"
            )
            raise _Refused(BAD_FRAME, Step("anonymous", False, why))
        else:
            why = "clients without a token are not let in (auth.anonymous)"
            raise _Refused(BAD_FRAME, Step("anonymous", False, why))
        try:
            identity = self._borne(asked) if asked.token else self._claimed(asked)
            if self._revocations is not None and self._revocations.refuse(identity):
                raise InvalidToken("it was revoked")
        except ExpiredToken as error:
            raise _Refused(TOKEN_EXPIRED, Step(what, False, f"the token has expired: {error}")) from error
        except InvalidToken as error:
            such = "the token is" if asked.token else "a token with these claims is"
            raise _Refused(INVALID_TOKEN, Step(what, False, f"{such} refused: {error}")) from error
        return identity, Step(what, True, good)

    def _borne(self, asked: Asked) -> Identity:
        return self._demand_verifier().verify_connection(asked.token)

    def _claimed(self, asked: Asked) -> Identity:
        """The identity that a token with these claims would give; raises InvalidToken where it would be refused."""
        names = read.ClaimNames() if self._verifier is None else self._verifier.names
        given = {**asked.claims}
        if asked.user and names.user == "sub":
            given["sub"] = asked.user
        user = read.string({names.user: asked.user}, names.user) or read.user(given, names)
        if not user and not self._anonymous:
            raise InvalidToken(f"it names no user in `{names.user}`, and anonymous ones are not admitted")
        return read.bearer(given, user, None, names)

    def _demand_verifier(self) -> TokenVerifier:
        if self._verifier is None:
            raise InvalidToken("no key is configured to verify tokens with")
        return self._verifier

    def _of_method(self, asked: Asked, identity: Identity, blank: Answer) -> Answer:
        handler = self._table.rpc.get(asked.topic)
        if handler is None:
            verdict = "refused: there is no such method"
            return replace(blank, error=NOT_AVAILABLE.number, verdict=verdict)
        said = call_reasons(identity, handler.allow)
        return replace(
            _with(blank, said, NOT_AVAILABLE, (handler.name,)),
            owner=handler.plugin,
            origin=handler.origin,
            rules_origin=handler.origin,
        )

    def _of_topic(self, asked: Asked, identity: Identity, blank: Answer) -> Answer:
        granted, found = self._granted(asked, identity), self._table.find(asked.topic)
        if found is None:
            return _of_no_topic(blank, granted)
        rule, params = found
        blank = replace(
            blank,
            pattern=rule.options.pattern,
            owner=rule.options.owner,
            origin=rule.origins.get("", ""),
            params=params,
        )
        handlers = tuple(handler.name for handler in rule.handlers_of(asked.action))
        if self._bars(identity, asked.topic) and (granted is None or granted[0].admits):
            return _barred(blank, granted)
        if granted is not None:
            return _by_token(blank, *granted, handlers)
        question = Question(identity, asked.action, asked.topic, params, bool(handlers))
        said = reasons(question, rule.options)
        whole = _with(blank, said, PERMISSION_DENIED, handlers)
        whole = replace(whole, rules_origin=rule.origins.get(f"allow.{said.rules_of}", _NOWHERE))
        if said.allowed and said.rules_of != asked.action and rule.handlers_of(said.rules_of):
            unasked = ", ".join(handler.name for handler in rule.handlers_of(said.rules_of))
            whole = replace(whole, verdict=f"{whole.verdict}; {unasked} is asked about {said.rules_of} alone")
        return _as_far_as_on(whole, rule)

    def _bars(self, identity: Identity, topic: str) -> bool:
        return self._revocations is not None and self._revocations.bar(identity.user, topic)

    def _granted(self, asked: Asked, identity: Identity) -> tuple[Step, Code] | None:
        """What tokens say of the topic before any rule, with the refusal; None where they say nothing."""
        if asked.action == "subscribe" and asked.topic in identity.subs:
            why = "the token has the hub subscribe its bearer to the topic, whatever its rules"
            return Step("channels", True, why), PERMISSION_DENIED
        if not asked.subscription_token or asked.action != "subscribe":
            return None
        refusal = PERMISSION_DENIED
        try:
            grant = self._demand_verifier().verify_subscription(
                asked.subscription_token, topic=asked.topic, user=identity.user, client=""
            )
            if self._revocations is not None and self._revocations.strike(grant.mark):
                raise InvalidToken("it was revoked")
        except (ExpiredToken, InvalidToken) as error:
            if isinstance(error, ExpiredToken):
                refusal = TOKEN_EXPIRED
            elif error.mismatch:
                refusal = INVALID_TOKEN
            return Step("subscription token", False, f"it is refused: {error}"), refusal
        why = "it is good for this topic and this user, and goes before all rules"
        return Step("subscription token", True, why), refusal


def _of_no_topic(blank: Answer, granted: tuple[Step, Code] | None) -> Answer:
    """A token that is good tells its bearer that there is no such topic; others are told no more than by a rule."""
    if granted is None:
        verdict = "refused: no pattern matches the topic (clients are told no more than where a rule refuses)"
        return replace(blank, error=PERMISSION_DENIED.number, verdict=verdict)
    step, refusal = granted
    if not step.admits:
        return _by_token(blank, step, refusal, ())
    verdict = "refused: no pattern matches the topic, though a token grants it"
    return replace(blank, error=UNKNOWN_TOPIC.number, verdict=verdict, who=(*blank.who, step))


def _barred(blank: Answer, granted: tuple[Step, Code] | None) -> Answer:
    step = Step("revocation", False, "the user was barred from the topic, whatever its rules")
    tokens = () if granted is None else (granted[0],)
    return replace(
        blank, error=PERMISSION_DENIED.number, verdict=f"refused: {step.why}", who=(*blank.who, *tokens, step)
    )


def _with(blank: Answer, said: Reasons, refusal: Code, handlers: tuple[str, ...]) -> Answer:
    verdict = f"{'allowed' if said.allowed else 'refused'}: {said.sentence}"
    if said.allowed and handlers:
        verdict += f"; {_still_to_ask(handlers)}"
    return replace(
        blank,
        allowed=said.allowed,
        error=0 if said.allowed else refusal.number,
        verdict=verdict,
        rules_of=said.rules_of,
        marks=said.marks,
        rules=said.rules,
        capabilities=said.capabilities,
        handlers=handlers,
    )


def _by_token(blank: Answer, granted: Step, refusal: Code, handlers: tuple[str, ...]) -> Answer:
    verdict = f"{'allowed' if granted.admits else 'refused'}: {granted.why}"
    if granted.admits and handlers:
        verdict += f"; {_still_to_ask(handlers)}"
    error = 0 if granted.admits else refusal.number
    return replace(
        blank,
        allowed=granted.admits,
        error=error,
        verdict=verdict,
        who=(*blank.who, granted),
        handlers=handlers,
    )


def _still_to_ask(handlers: tuple[str, ...]) -> str:
    return f"then {', '.join(handlers)} runs and may refuse, which only a running hub finds out"


def _as_far_as_on(answer: Answer, rule: TopicRule) -> Answer:
    """Presence and history are refused where they are off, once the rules have allowed them."""
    on = {"presence": rule.options.presence, "history": rule.options.history is not None}
    if not answer.allowed or on.get(answer.action, True):
        return answer
    verdict = f"not available: the rules allow it, and {_OFF[answer.action]} on this topic"
    return replace(answer, allowed=False, error=NOT_AVAILABLE.number, verdict=verdict)
