"""Presence on Redis, common to all nodes: entries by topic, and one lease for each node."""
