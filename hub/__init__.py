"""Topichub: a self-hosted event hub. The version is all this module holds."""

__version__ = "0.1.0"
