"""Ways in and out: one file each, reading bytes for a session and writing what its outbox gives."""
