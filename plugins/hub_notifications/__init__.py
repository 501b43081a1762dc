"""The notifications plugin of topichub."""
