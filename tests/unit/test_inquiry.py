"""What `explain` says is what the hub does: of any rules, tokens and revocations that hypothesis thinks of."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hub.errors import ReplyError
from hub.testing import HubClient, InProcessHub, PushTimeoutError

GATE = "tests.integration.permission_handlers:gate"
SAY = "tests.integration.permission_handlers:say"
PATTERNS = (
    "news:{x}",
    "own:{user}",
    "own:{user}:{box}",
    "dm:{user}-{peer}",
    "$news:{x}",
    "$own:{user}",
    "lobby",
    "{x:rest}",
)
TOPICS = (
    "news:1",
    "news:1#ann",
    "news:1#bob,ann",
    "own:ann",
    "own:bob",
    "own:ann:x",
    "own:{sub}",
    "dm:ann-bob",
    "dm:bob-ann-x",
    "$news:1",
    "$own:ann",
    "$news:1#ann",
    "lobby",
    "nons:1",
    "nons#ann",
    "#",
    "$",
)
USERS = ("", "ann", "bob", "ann:x", "{sub}", "*", "ann,bob", "ann-x")
ACTIONS = ("subscribe", "publish", "presence", "history", "rpc")
GRANTS = (
    "news:*",
    "{ns}:{sub}",
    "own:{sub}",
    "own:{sub:rest}",
    "own:{sub}:*",
    "dm:{sub}-{peer}",
    "$news:{x}",
    "*",
    "lobby",
)

rules = st.sampled_from(("anyone", "authenticated", "nobody", "token", "role:editor", "role:boss"))


@st.composite
def patterns(draw: st.DrawFn) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pattern in draw(st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=5, unique=True)):
        of_this = st.one_of(rules, st.just("user:{user}")) if "{user}" in pattern else rules
        handlers = draw(
            st.fixed_dictionaries({}, optional={"subscribe": st.just(GATE), "publish": st.just(SAY)})
        )
        allow = {}
        for action in draw(st.sets(st.sampled_from(ACTIONS[:4]))):
            with_handler = st.one_of(of_this, st.just("handler")) if action in handlers else of_this
            allow[action] = draw(st.lists(with_handler, min_size=1, max_size=3))
        found[pattern] = {"allow": allow, "handlers": handlers, "presence": draw(st.booleans())}
        if draw(st.booleans()):
            found[pattern]["history"] = {"size": 5}
    return found


callers = st.sampled_from(("anyone", "authenticated", "nobody", "role:editor"))
configs = st.fixed_dictionaries(
    {
        "auth": st.fixed_dictionaries({"anonymous": st.booleans()}),
        "topics": patterns(),
        "rpc": st.fixed_dictionaries(
            {},
            optional={
                "report": st.fixed_dictionaries(
                    {"run": st.just("tests.integration.permission_handlers:report")},
                    optional={"allow": st.lists(callers, min_size=1, max_size=2)},
                )
            },
        ),
    }
)
actions_granted = st.lists(st.sampled_from(("sub", "pub", "presence", "history")), max_size=3)
claims = st.fixed_dictionaries(
    {},
    optional={
        "role": st.sampled_from(("editor", "boss", "")),
        "roles": st.lists(st.sampled_from(("editor", "x")), max_size=2),
        "topics": st.one_of(
            st.lists(st.sampled_from(GRANTS), max_size=3),
            st.dictionaries(st.sampled_from(GRANTS), actions_granted, max_size=3),
            st.just(["{sub}{sub}"]),
            st.just(7),
        ),
        "exp": st.sampled_from((1, 4_000_000_000)),
        "channel": st.just("news:1"),
        "jti": st.sampled_from(("good", "bad")),
        "subscribed": st.booleans(),
    },
)


@dataclass(frozen=True)
class Question:
    action: str
    topic: str
    user: str
    claims: dict[str, Any]
    subscription: dict[str, Any] | None
    """What sets the token that is brought for the topic apart from a good one; None where none is brought."""


questions = st.builds(
    Question,
    st.sampled_from(ACTIONS),
    st.sampled_from(TOPICS),
    st.sampled_from(USERS),
    claims,
    st.one_of(
        st.none(),
        st.fixed_dictionaries(
            {},
            optional={
                "sub": st.sampled_from(USERS),
                "channel": st.sampled_from(TOPICS),
                "exp": st.just(1),
                "jti": st.just("bad"),
            },
        ),
    ),
)
revoked = st.lists(st.tuples(st.integers(0, 9), st.sampled_from(("channel", "user", "token_id"))), max_size=2)
"""Which question's user is barred from its topic, or barred whole; or all tokens with a certain id."""


def revocations(asked: list[Question], taken: list[tuple[int, str]]) -> list[dict[str, str]]:
    found = []
    for index, what in taken:
        question = asked[index % len(asked)]
        if what == "token_id":
            found.append({"token_id": "bad"})
        elif question.user and what == "user":
            found.append({"user": question.user})
        elif question.user:
            found.append({"user": question.user, "channel": question.topic})
    return found


async def done(hub: InProcessHub, question: Question, token: str, subscription: str) -> int:
    """The number that a client gets who does it, 0 for none."""
    client: HubClient = hub.client()
    topic: dict[str, Any] = {"channel": question.topic}
    requests: dict[str, dict[str, Any]] = {
        "subscribe": {**topic, "token": subscription} if subscription else topic,
        "publish": {**topic, "data": {}},
        "presence": topic,
        "history": topic,
        "rpc": {"method": "report", "data": {}},
    }
    try:
        await client.connect(**({"token": token} if token else {}))
        if question.action == "subscribe" and question.topic in client.connection.get("subs", {}):
            return 0
        await client.command(question.action, requests[question.action])
    except ReplyError as refusal:
        return refusal.code
    except PushTimeoutError:
        assert client.closed is not None
        return client.closed[0]
    finally:
        if client.closed is None:
            await client.close()
    return 0


async def explained(hub: InProcessHub, **asked: Any) -> dict[str, Any]:
    answer: httpx2.Response = await hub.http.post("/api/explain", headers=hub.api_key, json=asked)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["result"]
    return found


def after_handlers(question: Question, user: str, error: int) -> int:
    """What comes of it when the handlers of the topic have had their say too."""
    refuses = user != "ann" if question.action == "subscribe" else user == "bob"
    return 103 if error == 0 and refuses else error


async def compared(config: dict[str, Any], asked: list[Question], taken: list[tuple[int, str]]) -> None:
    async with InProcessHub(config) as hub:
        for revocation in revocations(asked, taken):
            answer = await hub.http.post("/api/revoke", headers=hub.api_key, json=revocation)
            assert answer.status_code == 200, answer.text
            assert "error" not in answer.json(), answer.text
        for question in asked:
            claims = dict(question.claims)
            if claims.pop("subscribed", False) and question.action == "subscribe":
                claims["channels"] = [question.topic]
            token = hub.token(question.user, **claims) if question.user else ""
            subscription = ""
            if question.subscription is not None:
                subscription = hub.token(
                    question.user, **{"channel": question.topic, **question.subscription}
                )
            name = "report" if question.action == "rpc" else question.topic
            who = {"token": token} if token else {}
            brought = {"subscription_token": subscription} if subscription else {}
            said = await explained(hub, action=question.action, topic=name, **who, **brought)
            assert said["allowed"] is (said["error"] == 0)
            told = said["error"]
            if said["handlers"] and question.action != "rpc":
                told = after_handlers(question, said["user"], told)
            assert await done(hub, question, token, subscription) == told, (question, said)
            if token and claims.get("exp") != 1 and "channel" not in claims:
                as_if = await explained(
                    hub,
                    action=question.action,
                    topic=name,
                    user=question.user,
                    claims=claims,
                    **brought,
                )
                assert (as_if["error"], as_if["rules"]) == (said["error"], said["rules"])


def asks(
    action: str, topic: str, user: str, *, subscription: dict[str, Any] | None = None, **claims: Any
) -> Question:
    return Question(action, topic, user, claims, subscription)


OPEN = {
    "topics": {
        "news:{x}": {"allow": dict.fromkeys(ACTIONS[:4], "anyone"), "presence": True, "history": {"size": 5}},
        "$news:{x}": {"allow": {"subscribe": "anyone"}, "presence": True, "history": {"size": 5}},
        "off:{x}": {"allow": dict.fromkeys(ACTIONS[:4], "anyone")},
    },
    "rpc": {"report": {"run": "tests.integration.permission_handlers:report", "allow": "role:editor"}},
}


@pytest.mark.timeout(120)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@example(OPEN, [asks("subscribe", "news:1", "ann")], [(0, "channel")])
@example(OPEN, [asks("publish", "news:1", "ann")], [(0, "channel")])
@example(OPEN, [asks("history", "news:1", "ann")], [(0, "channel")])
@example(OPEN, [asks("publish", "news:1", "ann")], [(0, "user")])
@example(OPEN, [asks("subscribe", "$news:1", "ann", subscription={"jti": "bad"})], [(0, "token_id")])
@example(OPEN, [asks("subscribe", "$news:1", "ann", subscription={})], [(0, "channel")])
@example(OPEN, [asks("subscribe", topic, "ann", subscription={}) for topic in ("$news:1", "nons:1")], [])
@example(OPEN, [asks("subscribe", "news:1", "ann", subscription={"sub": "bob"})], [])
@example(
    OPEN,
    [asks(action, topic, "ann") for action in ACTIONS[:4] for topic in ("$news:1", "news:1#bob", "off:1")],
    [],
)
@example(OPEN, [asks("subscribe", topic, "ann", subscribed=True) for topic in ("$news:1", "nons:1")], [])
@example(OPEN, [asks("rpc", "", "ann"), asks("rpc", "", "ann", role="editor")], [])
@given(configs, st.lists(questions, min_size=10, max_size=25), revoked)
def test_what_explain_says_is_what_the_hub_does(
    config: dict[str, Any], asked: list[Question], taken: list[tuple[int, str]]
) -> None:
    asyncio.run(compared(config, asked, taken))
