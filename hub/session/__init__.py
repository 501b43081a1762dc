"""Sessions: one connected client each, as a state machine without sockets."""
