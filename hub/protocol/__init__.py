"""The client protocol's words and bytes: pure functions, no sockets."""
