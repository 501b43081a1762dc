from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from hub.settings import shape
from hub.settings.model import Settings


class Leaf(BaseModel):
    secret: SecretStr | None = None
    kind: Literal["a", "b"] = "a"


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class Tree(BaseModel):
    one: Leaf | None = None
    many: list[Leaf] = Field(default_factory=list)
    named: Annotated[dict[str, Leaf], "note"] = Field(default_factory=dict)
    pair: tuple[int, Leaf] | None = None
    either: Leaf | Open | None = None
    from_: str = Field("", alias="from")
    anything: Any = None


def test_paths_lead_through_optional_values_lists_maps_and_tuples() -> None:
    for path in (("one",), ("many", 3), ("named", "x"), ("pair", 1)):
        assert shape.within(Tree, path)[0] is Leaf
    assert shape.within(Tree, ("no", "such")) == shape.within(Tree, ("anything", "x")) == []


def test_keys_are_those_of_the_file() -> None:
    assert shape.keys(Tree, ()) == ["one", "many", "named", "pair", "either", "from", "anything"]
    assert shape.keys(Tree, ("from",)) == []


def test_literals_and_secrets_are_found_in_their_place() -> None:
    assert shape.literals(Tree, ("many", 0, "kind")) == ["a", "b"]
    assert shape.secret(Tree, ("named", "x", "secret"))
    assert shape.secret(Tree, ("named", "x", "secret", 0))
    assert not shape.secret(Tree, ("named", "x", "kind"))
    assert shape.holds_secret(Tree, ())
    assert shape.holds_secret(Tree, ("named",))
    assert shape.holds_secret(Tree, ("named", "x"))
    assert shape.holds_secret(Tree, ("many",))
    assert not shape.holds_secret(Tree, ("named", "x", "kind"))
    assert shape.holds_secret(Settings, ("webhooks", "secrets"))
    assert not shape.holds_secret(Settings, ("webhooks", "cookies"))


def test_strays_are_found_wherever_one_model_alone_may_stand() -> None:
    data = {
        "from": "x",
        "from_": "x",
        "form": 1,
        "one": {"knid": 1},
        "many": [{}, {"a": 1}],
        "named": {"x": {"b": 1}},
        "pair": [1, {"c": 1}],
        "either": {"free": 1},
        "anything": {"free": 1},
    }
    assert list(shape.strays(Tree, data)) == [
        ("form",),
        ("one", "knid"),
        ("many", 1, "a"),
        ("named", "x", "b"),
        ("pair", 1, "c"),
    ]
    assert list(shape.strays(Open, {"free": 1})) == []


def test_a_lost_key_is_led_home_to_the_nearest_section() -> None:
    assert shape.home(Settings, "secret") == "auth.jwt.secret"
    assert shape.home(Settings, "port") == "server.port"
    assert shape.home(Settings, "url") is None
    assert shape.home(Settings, "no_such") is None
