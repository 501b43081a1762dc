"""The core's own revisions, `m0001_*.py` and on; the tables that they make are those of `hub.store.models`."""
