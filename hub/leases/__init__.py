"""Leases: work that runs on one node of the cluster at a time, and on another when that one is gone."""
