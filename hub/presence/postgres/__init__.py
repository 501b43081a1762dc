"""Presence on PostgreSQL: entries under one lease per node, with counts that are kept along with them."""
