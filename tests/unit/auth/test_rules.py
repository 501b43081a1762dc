from __future__ import annotations

from typing import Any

import pytest

from hub.auth.rules import allowed
from hub.model import ANONYMOUS, Identity, TopicOptions

ANN = Identity(
    user="ann",
    claims={"role": "editor", "roles": ["reader", "a:b"]},
    topics={"news:*": frozenset({"subscribe"})},
)


def ask(
    rules: dict[str, tuple[str, ...]],
    identity: Identity = ANN,
    action: str = "subscribe",
    topic: str = "news:ann",
    *,
    handler: bool = False,
) -> Any:
    params = {"who": topic.partition(":")[2], "empty": ""}
    return allowed(
        identity, action, topic, TopicOptions("news:{who}", allow=rules), params, handlers_decide=handler
    )


@pytest.mark.parametrize(
    ("rule", "identity", "expected"),
    [
        ("anyone", ANONYMOUS, True),
        ("anyone", ANN, True),
        ("authenticated", ANONYMOUS, False),
        ("authenticated", ANN, True),
        ("nobody", ANN, False),
        ("role:editor", ANN, True),
        ("role:reader", ANN, True),
        ("role:a:b", ANN, True),
        ("role:edit", ANN, False),
        ("role:", ANN, False),
        ("role:editor", ANONYMOUS, False),
        ("role:edit", Identity("ann", claims={"roles": "editor"}), False),
        ("role:editor", Identity("ann", claims={"roles": {"editor": True}}), False),
        ("role:editor", Identity("ann", claims={"role": ["editor"]}), False),
        ("role:7", Identity("ann", claims={"role": 7, "roles": [7]}), False),
        ("user:{who}", ANN, True),
        ("user:{who}", Identity("bob"), False),
        ("user:{who}", ANONYMOUS, False),
        ("user:{empty}", ANONYMOUS, False),
        ("user:{other}", ANN, False),
        ("token", ANN, True),
        ("token", Identity("ann", topics={"news:{sub}": frozenset({"subscribe"})}), True),
        ("token", Identity("bob", topics={"news:{sub}": frozenset({"subscribe"})}), False),
        ("token", Identity("ann", topics={"chat:*": frozenset({"subscribe"})}), False),
        ("token", Identity("ann", topics={"news:*": frozenset({"publish"})}), False),
        ("token", Identity("ann", topics={"news:{": frozenset({"subscribe"})}), False),
        ("token", ANONYMOUS, False),
        ("everyone", ANN, False),
        ("", ANN, False),
    ],
)
def test_a_rule_admits_whom_it_names(rule: str, identity: Identity, expected: bool) -> None:
    decision = ask({"subscribe": (rule,)}, identity)
    assert decision.allowed is expected
    assert bool(decision) is expected
    assert rule in decision.rule


def test_one_admitting_rule_is_enough_and_is_named() -> None:
    decision = ask({"subscribe": ("nobody", "role:boss", "user:{who}", "anyone")})
    assert (decision.allowed, decision.rule) == (True, "user:{who}")


def test_a_refusal_names_all_rules_that_did_not_admit() -> None:
    assert ask({"publish": ("role:boss", "token")}, action="publish").rule == (
        "none of the rules for publish admits: role:boss, token"
    )


def test_capabilities_count_only_where_the_rules_ask_for_them() -> None:
    assert not ask({"subscribe": ("role:boss",)})
    assert ask({"subscribe": ("role:boss", "token")})


@pytest.mark.parametrize("action", ["subscribe", "publish", "presence", "history", "dance"])
def test_without_rules_nobody_may(action: str) -> None:
    assert ask({}, action=action).rule == f"nobody may {action}: the topic has no rule for it"
    assert not ask({}, action=action)
    assert not ask({action: ()}, action=action)


@pytest.mark.parametrize("action", ["presence", "history"])
def test_presence_and_history_go_by_subscribe_unless_they_have_rules(action: str) -> None:
    assert ask({"subscribe": ("anyone",)}, action=action)
    assert not ask({"subscribe": ("anyone",), action: ("nobody",)}, action=action)
    assert not ask({"subscribe": ("anyone",), action: ()}, action=action)
    assert not ask({"publish": ("anyone",)}, action=action)
    assert not ask({"subscribe": ("token",)}, action=action)


def test_publish_does_not_go_by_subscribe() -> None:
    assert not ask({"subscribe": ("anyone",)}, action="publish")


@pytest.mark.parametrize("action", ["subscribe", "publish"])
def test_a_handler_decides_where_there_is_one(action: str) -> None:
    assert ask({action: ("handler",)}, action=action, handler=True).rule == "handler"
    assert not ask({action: ("handler",)}, action=action, handler=False)


@pytest.mark.parametrize("action", ["presence", "history"])
def test_no_handler_decides_on_presence_and_history(action: str) -> None:
    assert not ask({"subscribe": ("handler",), action: ("handler",)}, action=action, handler=True)
    assert not ask({"subscribe": ("handler",)}, action=action, handler=True)


@pytest.mark.parametrize("action", ["subscribe", "publish", "presence", "history"])
@pytest.mark.parametrize(
    ("topic", "user", "expected"),
    [
        ("room#ann", "ann", True),
        ("room#bob,ann,eve", "ann", True),
        ("room#ann", "bob", False),
        ("room#ann", "an", False),
        ("room#ann", "ann,", False),
        ("room#ann,bob", "ann,bob", False),
        ("room#ann#bob", "bob", True),
        ("room#ann#bob", "ann", False),
        ("room#ann#bob", "ann#bob", False),
        ("room#", "ann", False),
        ("room#", "", False),
        ("room#,", "", False),
        ("#ann", "ann", True),
        ("room#ANN", "ann", False),
        ("room#*", "ann", False),
        ("room# ann", "ann", False),
    ],
)
def test_a_topic_is_for_the_users_behind_its_last_hash(
    action: str, topic: str, user: str, expected: bool
) -> None:
    every = dict.fromkeys(("subscribe", "publish", "presence", "history"), ("anyone",))
    assert ask(every, Identity(user), action, topic).allowed is expected
    assert not ask({}, Identity(user), action, topic)


@pytest.mark.parametrize("rule", ["anyone", "authenticated", "token", "handler", "user:{who}"])
def test_no_rule_subscribes_anybody_to_a_private_topic(rule: str) -> None:
    bearer = Identity("ann", topics={"*": frozenset({"subscribe", "publish"})})
    rules = {"subscribe": (rule,), "publish": (rule,)}
    assert not ask(rules, bearer, "subscribe", "$news:ann", handler=True)
    assert ask(rules, bearer, "publish", "$news:ann", handler=True)
    assert not ask(rules, bearer, "presence", "$news:ann")
    assert not ask(rules, bearer, "history", "$news:ann")
    assert ask(rules, bearer, "subscribe", "ne$ws:ann", handler=True)
