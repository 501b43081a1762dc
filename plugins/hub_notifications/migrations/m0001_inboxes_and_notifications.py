"""Inboxes and notifications."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "notifications_inbox",
        sa.Column("user", sa.String(255), primary_key=True),
        sa.Column("changes", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "notifications_notification",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("user", sa.String(255), nullable=False),
        sa.Column("sender", sa.String(300), nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("click", sa.String(1_000), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("read", sa.BigInteger(), nullable=True),
        sa.Column("key", sa.String(100), nullable=True),
        sa.UniqueConstraint("user", "sender", "key"),
        sqlite_autoincrement=True,
    )
    op.create_index(None, "notifications_notification", ["user", "id"])
    op.create_index(None, "notifications_notification", ["user", "read", "id"])
