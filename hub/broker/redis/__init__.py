"""The broker on Redis: history in streams, delivery by its publish and subscribe."""
