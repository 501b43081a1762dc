"""The dashboards plugin: panels written in YAML, with figures of the machine, the hub and its topics, as they change.

`plugin.yaml` says what it is made of, README.md how to use it.
"""
