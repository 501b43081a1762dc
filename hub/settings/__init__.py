"""The operator's file: read, expanded, overridden by the environment, checked, and turned into settings."""
