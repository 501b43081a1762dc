"""Presence on NATS: clients, users, counts and leases as messages of one stream in memory."""
