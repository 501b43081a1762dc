"""The dashboards plugin of topichub."""
