"""The chat plugin of topichub."""
