"""Brokers: what links nodes and keeps history, and the bridge by which the hub reaches them through broadcaster."""
