"""Metrics stay few whatever clients send: no label takes its values from them."""

from __future__ import annotations

from typing import Final

import pytest
from prometheus_client.metrics import MetricWrapperBase

from hub import metrics
from hub.errors import ReplyError
from hub.testing import InProcessHub

CLOSED: Final = {
    "transport": "the ways in",
    "code": "numbers of the hub, and those that plugins and backends may choose within their ranges",
    "reason": "why the hub refused or dropped",
    "method": "commands of the protocol",
    "limit": "settings",
    "bound": "the client's own, or the node's",
    "recovered": "yes or no",
    "outcome": "how an attempt ended",
    "plugin": "what the configuration switches on",
    "handler": "what the configuration names",
    "event": "the events there are handlers for",
    "status": "1xx to 5xx",
    "version": "the hub's own",
}
"""Every label that metrics have, and where its values come from: never from clients."""


def test_every_label_is_of_a_closed_set() -> None:
    found = {
        name
        for metric in vars(metrics).values()
        if isinstance(metric, MetricWrapperBase)
        for name in metric._labelnames
    }
    assert found == set(CLOSED)


async def test_whatever_clients_send_makes_no_series() -> None:
    async with InProcessHub({"topics": {"chat:{room}": {"allow": {"subscribe": "anyone"}}}}) as hub:
        series = []
        for turn in range(2):
            for number in range(3):
                ann = await hub.connect(f"invented-user-{turn}-{number}")
                await ann.subscribe(f"chat:invented-{turn}-{number}")
                with pytest.raises(ReplyError):
                    await ann.subscribe(f"invented-{turn}-{number}")
                with pytest.raises(ReplyError):
                    await ann.rpc(f"invented-{turn}-{number}")
                await ann.close()
            series.append(len(metrics.exposition().splitlines()))
        assert series[0] == series[1]
        assert b"invented" not in metrics.exposition()
