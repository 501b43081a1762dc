"""The published `centrifuge` package, under Node, against a running hub."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hub.settings.model import LimitSettings
from hub.testing import LiveHub
from tests.integration.site_login import signed
from tests.services.node import Node
from tests.services.redis import RedisServer

HERE = Path(__file__).parent
ANYONE = {"subscribe": "anyone", "publish": "anyone"}
CONFIG = {
    "limits": LimitSettings().model_dump(),
    "client": {"expired_grace": 1},
    "topics": {
        "news:{x}": {"allow": ANYONE, "history": {"size": 100}, "presence": True, "join_leave": True},
        "small:{x}": {"allow": ANYONE, "history": {"size": 2}},
        "delta:{x}": {"allow": ANYONE, "history": {"size": 100}, "delta": True},
        "short:{x}": {"allow": ANYONE, "history": {"size": 2}, "delta": True},
        "tags:{x}": {"allow": ANYONE, "history": {"size": 100}, "filter": True},
        "forbidden:{x}": {"allow": {"subscribe": "nobody"}},
        "own:{user}": {
            "allow": dict.fromkeys(("subscribe", "publish"), "user:{user}"),
            "history": {"size": 100},
        },
    },
}


@pytest.fixture(scope="module", params=["detached", "asgi", "compressed"])
def hub(request: pytest.FixtureRequest) -> Iterator[LiveHub]:
    config: dict[str, Any] = {**CONFIG, "server": {"compression": request.param == "compressed"}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hub.protocol.deflate.COMPRESS_BYTES", 1)  # what the scenarios publish is short
        with LiveHub(config, detached=request.param != "asgi") as hub:
            yield hub


def run(node: Node, hub: LiveHub, name: str, token: str = "", other: str = "") -> Any:
    """Runs one scenario; `token` and `other` are what its clients connect with."""
    node.install(HERE)
    socket = f"{hub.ws_url}/connection/websocket"
    done = subprocess.run(
        [node.path, HERE / "scenarios.mjs", name, socket, hub.url, hub.api_key, token, other],
        capture_output=True,
        text=True,
        timeout=28,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.timeout(120)
def test_a_whole_session_works(node: Node, hub: LiveHub) -> None:
    seen = run(node, hub, "session", hub.token("ann"), hub.token("bob"))
    assert seen == {
        "transport": "websocket",
        "client": "string",
        "positioned": True,
        "recoverable": True,
        "pubs": [[{"n": 1}, 1, "ann"], [{"n": 2}, 2, "ann"]],
        "presence": ["ann"],
        "stats": {"numClients": 1, "numUsers": 1},
        "history": [[{"n": 1}, 1], [{"n": 2}, 2]],
        "rpc": 108,
        "joins": ["ann", "bob"],
    }


def test_a_cut_client_gets_all_it_missed_once_and_in_order(node: Node, hub: LiveHub) -> None:
    seen = run(node, hub, "recovery", hub.token("ann"))
    assert seen == {"offsets": [1, 2, 3, 4, 5, 6, 7, 8, 9], "recovered": True, "wasRecovering": True}


def test_a_client_that_missed_more_than_is_kept_is_told(node: Node, hub: LiveHub) -> None:
    seen = run(node, hub, "small_history", hub.token("ann"))
    assert seen == {"offsets": [1, 7], "recovered": False, "wasRecovering": True}


def test_differences_give_what_was_published_live_and_after_a_cut(node: Node, hub: LiveHub) -> None:
    seen = run(node, hub, "delta", hub.token("ann"))
    saved, deltas = seen.pop("saved"), seen.pop("deltas")
    assert seen == {"offsets": list(range(1, 13)), "right": True, "recovered": True, "live": [1, 3]}
    # After the cut one payload comes whole, and one more where the first live one was not in the list.
    assert deltas >= 9
    assert saved > 0.6


def test_differences_go_on_after_what_is_lost(node: Node, hub: LiveHub) -> None:
    seen = run(node, hub, "delta_lost", hub.token("ann"))
    assert seen == {"seen": [[1, True], [2, True], [8, True], [9, True]], "recovered": False, "deltas": 2}


def test_a_tags_filter_holds_live_and_after_a_cut(node: Node, hub: LiveHub) -> None:
    seen = run(node, hub, "tags", hub.token("ann"))
    assert seen == {
        "seen": [
            [2, "10.5"],
            [3, "11"],
            [5, "300"],
            [8, "10.5"],
            [9, "11"],
            [11, "300"],
            [13, "12"],
            [14, "0"],
        ],
        "recovered": True,
        "errors": {"refused": 107, "bad": 107},
    }


def test_a_token_is_refreshed_without_a_drop(node: Node, hub: LiveHub) -> None:
    seen = run(node, hub, "refresh", hub.token("ann", exp=int(time.time()) + 3), hub.token("ann"))
    assert seen == {"asked": 1, "drops": 0, "state": "connected"}


def test_many_subscriptions_do_not_touch_one_another(node: Node, hub: LiveHub) -> None:
    assert run(node, hub, "many", hub.token("ann")) == [103, ["subscribed"] * 5]


def test_server_side_subscriptions_recover(node: Node, hub: LiveHub) -> None:
    seen = run(node, hub, "server_side", hub.token("ann", channels=["news:server"]))
    assert seen["channel"] == "news:server"
    assert seen["pubs"] == [["news:server", "hello"], ["news:server", "missed"]]
    assert seen["recovered"] is True


def test_a_bad_token_ends_for_good(node: Node, hub: LiveHub) -> None:
    assert run(node, hub, "refused") == {"code": 3500, "reason": "invalid token"}


def test_a_ticket_connects_once_and_what_comes_back_with_it_is_refused_for_good(
    node: Node, hub: LiveHub
) -> None:
    assert run(node, hub, "ticket", hub.token("ann")) == {"subscribed": "own:ann", "again": 3500}


@pytest.mark.parametrize("way", ["subprotocol", "header"])
def test_a_token_beside_the_protocol_holds_when_the_client_comes_back(
    way: str, node: Node, hub: LiveHub
) -> None:
    assert run(node, hub, way, hub.token("ann")) == {"data": "mine", "user": "ann"}
    assert run(node, hub, way, "a.b.c") == {"refused": 3500}
    assert run(node, hub, way, hub.token("ann", exp=1)) == {"refused": 1}, "it has no other, and gives up"


def test_the_cookie_of_a_site_is_enough_where_a_connect_handler_knows_it(node: Node) -> None:
    handlers = {"connect": "tests.integration.site_login:connect"}
    with LiveHub({**CONFIG, "auth": {"anonymous": False}, "handlers": handlers}) as site:
        assert run(node, site, "cookie", signed(user="ann")) == {"data": "mine", "user": "ann"}
        forged = f"{signed(user='ann')[:-4]}0000"
        assert run(node, site, "cookie", forged) == {"refused": 3501}


@pytest.mark.timeout(60)
def test_who_comes_while_the_broker_is_away_is_subscribed_by_itself_when_it_is_back(
    node: Node, redis_server: RedisServer
) -> None:
    with LiveHub({**CONFIG, "broker": {"url": redis_server.url}}) as hub:
        redis_server.kill()
        back = threading.Timer(3, redis_server.restart)
        back.start()
        seen = run(node, hub, "outage", hub.token("ann"), hub.token("bob", channels=["news:own"]))
        back.join()
    assert seen == {
        "errors": [100],
        "refused": 100,
        "state": "subscribing",
        "channel": "news:own",
        "seen": [1],
        "drops": [],
        "after": "subscribed",
    }
