"""The core's own revisions, `m0001_*.py` and on; none yet, for nothing of the core needs a table.

The first one also brings `hub/store/models.py`, whose metadata `core()` in the migrator then names.
"""
