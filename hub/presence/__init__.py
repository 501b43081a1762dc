"""Presence: who is subscribed to a topic, on whichever node."""
