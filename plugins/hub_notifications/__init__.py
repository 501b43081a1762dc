"""The notifications plugin: an inbox for each user, pushed to all their devices.

`plugin.yaml` says what it is made of, README.md how to use it.
"""
