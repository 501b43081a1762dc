"""The chat plugin: rooms, stored messages, who is typing, who is there.

`plugin.yaml` says what it is made of, README.md how to use it.
"""
