"""From settings to a hub that could start: finds plugins, reads their manifests, resolves every name, merges topics.

`hub.loader.compose.compose` is the one way that `hub check`, `hub serve` and `hub dev` all take.
"""
