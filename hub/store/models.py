"""The core's own tables, for the test that compares them with its revisions; imported where they are needed alone."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Float, MetaData, Table, Text

from hub.tables import NAMING_CONVENTION

METADATA = MetaData(naming_convention=dict(NAMING_CONVENTION))

REVOCATION = Table(
    "hub_revocation",
    METADATA,
    Column("kind", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("topic", Text, primary_key=True),
    Column("issued_before", Float, nullable=False),
    Column("ends", Float, nullable=True),
    Column("changed", BigInteger, nullable=False),
    Column("lifted", Boolean, nullable=False),
)
"""See `hub.auth.revocations.Revocation`; `ends` is its `until`."""
