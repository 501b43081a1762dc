"""The ways in over HTTP: the server API, the curl-first topics API, health, and what plugins and pages serve."""
