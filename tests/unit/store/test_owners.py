from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from sqlalchemy import MetaData
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from hub.errors import StoreError
from hub.plugin import NAMING_CONVENTION
from hub.store.owners import Owner, core, in_order, metadata_of, owner_of


def owner(name: str, *requires: str) -> Owner:
    return Owner(name, Path(name), requires=requires)


def names(*owners: Owner) -> list[str]:
    return [one.name for one in in_order(owners)]


def test_core_comes_first_and_each_after_those_it_requires() -> None:
    assert names(owner("c", "b", "a"), owner("d"), owner("b", "a"), core(), owner("a")) == [
        "hub",
        "a",
        "b",
        "c",
        "d",
    ]


def test_order_is_as_given_where_nothing_is_required() -> None:
    assert names(owner("z"), owner("a"), owner("m")) == ["z", "a", "m"]


def test_requiring_a_plugin_without_tables_is_no_error() -> None:
    assert names(owner("chat", "presence_log")) == ["chat"]


def test_owners_that_require_one_another_are_refused_by_name() -> None:
    with pytest.raises(StoreError, match="b > c > b"):
        names(owner("a", "b"), owner("b", "c"), owner("c", "b"))


def test_two_owners_of_one_name_are_refused() -> None:
    with pytest.raises(StoreError, match="hub"):
        names(core(), owner("hub"))


@pytest.mark.parametrize("name", ["alembic", "sqlite", "pg"])
def test_names_that_databases_keep_are_refused(name: str) -> None:
    with pytest.raises(StoreError, match=name):
        names(owner(name))


def test_table_belongs_to_the_longest_name_it_begins_with() -> None:
    assert owner_of("chat_bots_rule", ["chat", "chat_bots"]) == "chat_bots"
    assert owner_of("chat_botsrule", ["chat", "chat_bots"]) == "chat"
    assert owner_of("chats", ["chat"]) is None


def models(*tables: type[SQLModel]) -> ModuleType:
    module = ModuleType("models")
    for table in tables:
        setattr(module, table.__name__, table)
    return module


def base() -> type[SQLModel]:
    class Base(SQLModel, registry=registry(metadata=MetaData(naming_convention=NAMING_CONVENTION))):
        pass

    return Base


def table(parent: type[SQLModel], name: str) -> type[SQLModel]:
    class Room(parent, table=True):  # type: ignore[misc, valid-type, call-arg]
        __tablename__ = name
        id: int | None = Field(default=None, primary_key=True)

    return Room


def test_metadata_of_a_models_module_is_that_of_its_tables() -> None:
    mine = base()
    assert metadata_of(models(mine, table(mine, "chat_room"), SQLModel)) is mine.metadata


def test_models_without_tables_or_without_a_base_of_their_own_are_refused() -> None:
    with pytest.raises(StoreError, match="declares no tables"):
        metadata_of(models(base()))
    with pytest.raises(StoreError, match="several"):
        metadata_of(models(table(base(), "chat_room"), type("Other", (table(base(), "chat_other"),), {})))
    shared = table(SQLModel, "chat_shared")
    try:
        with pytest.raises(StoreError, match="shared"):
            metadata_of(models(shared))
    finally:
        SQLModel.metadata.remove(SQLModel.metadata.tables["chat_shared"])


def test_constraints_are_named_alike_in_every_database() -> None:
    made = table(base(), "chat_room").metadata.tables["chat_room"]
    assert made.primary_key.name == "pk_chat_room"
