"""How tables are named, for the hub's own and for every plugin's `models.py`.

A plugin keeps its tables apart from all others: a base class with a registry and a MetaData of its own, and names that
begin with the plugin's (`chat_room` in `chat`), so that neither class names nor tables can clash::

    from sqlalchemy import BigInteger, MetaData
    from sqlalchemy.orm import registry
    from sqlmodel import Field, SQLModel

    from hub.plugin import NAMING_CONVENTION

    class ChatBase(SQLModel, registry=registry(metadata=MetaData(naming_convention=NAMING_CONVENTION))):
        pass

    class Room(ChatBase, table=True):
        __tablename__ = "chat_room"

        id: int | None = Field(default=None, primary_key=True)
        name: str = Field(max_length=200, unique=True)
        created: int = Field(sa_type=BigInteger)  # milliseconds since 1970, UTC

Times are best kept as integer milliseconds in a BigInteger: they sort, index and compare alike in both databases, while
a `DateTime` comes back aware from PostgreSQL and naive from SQLite.

Migrations lie in the folder that the manifest names, as `m0001_what_it_does.py`, with `revision = "0001"` and
`down_revision` naming the one before; revisions of different plugins never meet. Each runs in one transaction.
Constraints need no names there (the convention gives them); altering a column or constraint takes
`op.batch_alter_table`, for SQLite; `op.execute` takes one statement at a time; `op.get_bind()` gives the connection.
`downgrade` is never called.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

NAMING_CONVENTION: Final = MappingProxyType(
    {
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)
"""Names of constraints: SQLite can only change a constraint that has one, and PostgreSQL would choose its own."""
