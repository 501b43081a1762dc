"""Event streams over a real server."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from hub.app import Hub
from hub.model import Position
from hub.testing import LiveHub
from tests.integration.event_reader import EventReader

ANYONE = {"subscribe": "anyone", "publish": "anyone"}
CONFIG: dict[str, Any] = {
    "server": {"allowed_origins": ["https://app.example"]},
    "client": {"ping": "1s", "queue_bytes": "64KiB"},
    "topics": {
        "news:{section}": {
            "allow": ANYONE,
            "history": {"size": 5, "ttl": "1h"},
            "presence": True,
            "max_bytes": "64KiB",
        },
        "plain:{name}": {"allow": ANYONE},
        "cache:{name}": {"allow": ANYONE, "history": {"size": 5, "ttl": "1h"}, "recovery": "cache"},
        "members:{name}": {"allow": {"subscribe": "authenticated", "publish": "authenticated"}},
        "staff:{name}": {"allow": {"subscribe": "role:staff", "publish": "role:staff"}},
    },
}


@pytest.fixture(scope="module")
def running() -> Iterator[LiveHub]:
    with LiveHub(CONFIG) as live:
        yield live


@pytest.fixture
def hub(running: LiveHub) -> LiveHub:
    """The hub, with nobody connected."""
    until(lambda: sessions(running) == 0)
    return running


def until(condition: Callable[[], bool], within: float = 15.0) -> None:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < within, "it did not come to pass"
        time.sleep(0.01)


def sessions(hub: LiveHub) -> int:
    async def count(inside: Hub) -> int:
        return len(inside.node.sessions)

    return hub.call(count)


def publish(hub: LiveHub, topic: str, data: Any) -> Position:
    async def work(inside: Hub) -> Position | None:
        services = inside.blueprint.table.services
        assert services is not None
        return await services.publish(topic, data, tags=None, idempotency_key="", info=None)

    return hub.call(work) or Position(0, "")


def api(hub: LiveHub, method: str, request: Any) -> None:
    response = httpx2.post(f"{hub.url}/api/{method}", json=request, headers={"X-API-Key": hub.api_key})
    assert response.json() == {"result": {}}


def test_publications_arrive_as_events_with_their_positions(hub: LiveHub) -> None:
    with EventReader(hub, "news:a1").opened() as reader:
        position = publish(hub, "news:a1", {"text": "hi"})
        event = reader.event()
        assert (event.id, event.event) == (f"{position.offset}:{position.epoch}", "")
        assert event.json == {"text": "hi"}


def test_texts_arrive_as_they_are_and_keep_their_lines(hub: LiveHub) -> None:
    with EventReader(hub, "plain:texts").opened() as reader:
        for text in ("hi", "two\nlines", "ends\n", "", "a\r\nb", "data: no\n\nevent: trick", "grüße \u2028"):
            publish(hub, "plain:texts", text)
            assert reader.event().data == text.replace("\r\n", "\n")
        publish(hub, "plain:texts", {"a": "x\ny"})
        event = reader.event()
        assert (event.json, event.id) == ({"a": "x\ny"}, "")


def test_the_answer_is_one_that_no_proxy_holds_back(hub: LiveHub) -> None:
    with EventReader(hub, "plain:a") as reader:
        assert reader.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert reader.headers["cache-control"] == "private, no-cache, no-store, must-revalidate, max-age=0"
        assert reader.headers["x-accel-buffering"] == "no"
        assert reader.headers["pragma"] == "no-cache"
        block = reader.block()
        assert block is not None
        assert 1_000 <= int(block.retry) <= 3_000


def test_who_is_cut_before_the_first_publication_can_recover_too(hub: LiveHub) -> None:
    with EventReader(hub, "news:first").opened() as reader:
        standing = reader.block()
        assert standing is not None
        assert standing.data is None
        offset, epoch = standing.id.split(":")
        assert offset == "0"
    publish(hub, "news:first", 1)
    with EventReader(hub, "news:first", last_event_id=f"0:{epoch}") as reader:
        assert reader.event().json == 1


@pytest.mark.parametrize("way", ["header", "last_event_id", "lastEventId", "header over query"])
def test_what_was_missed_comes_once_and_in_order_before_what_is_new(hub: LiveHub, way: str) -> None:
    topic = f"news:missed {way}"
    positions = [publish(hub, topic, number) for number in range(1, 5)]
    first = f"{positions[0].offset}:{positions[0].epoch}"
    headers = {"Last_Event_ID": first} if "header" in way else {}
    query = f"last_event_id=3:{positions[0].epoch}" if "query" in way else "" if headers else f"{way}={first}"
    with EventReader(hub, topic, query, **headers) as reader:
        events = [reader.event() for _ in range(3)]
        publish(hub, topic, 5)
        events.append(reader.event())
        assert [event.json for event in events] == [2, 3, 4, 5]
        assert [event.id.split(":")[0] for event in events] == ["2", "3", "4", "5"]


@pytest.mark.parametrize("last", ["1:wrong", "nonsense", "99:{epoch}", "1:{epoch}"])
def test_what_cannot_be_recovered_is_told_before_anything_else(hub: LiveHub, last: str) -> None:
    topic = f"news:lost after {last[0]} {len(last)}"
    for number in range(1, 9):
        position = publish(hub, topic, number)
    with EventReader(hub, topic, Last_Event_ID=last.format(epoch=position.epoch)) as reader:
        told = reader.event()
        assert told.event == "unrecovered"
        assert told.json == {"recovered": False, "offset": 8, "epoch": position.epoch}
        assert told.id == f"8:{position.epoch}"
        publish(hub, topic, 9)
        event = reader.event()
        assert (event.json, event.event) == (9, "")


def test_a_topic_without_history_tells_that_nothing_can_be_recovered(hub: LiveHub) -> None:
    with EventReader(hub, "plain:a", Last_Event_ID="5:epoch") as reader:
        told = reader.event()
        assert (told.event, told.id) == ("unrecovered", "")


def test_a_cache_topic_brings_back_the_latest_alone(hub: LiveHub) -> None:
    for number in range(1, 4):
        position = publish(hub, "cache:a", number)
    with EventReader(hub, "cache:a", Last_Event_ID=f"1:{position.epoch}") as reader:
        assert reader.event().json == 3
        publish(hub, "cache:a", 4)
        assert reader.event().json == 4


def test_what_is_refused_is_refused_by_status_before_the_stream(hub: LiveHub) -> None:
    staff, nobody = f"token={hub.token('ann')}", "token=no.to.ken"
    for topic, query, status, code in (
        ("members:a", "", 401, 101),
        ("members:a", nobody, 401, 101),
        ("plain:a", nobody, 401, 101),
        ("members:a", f"token={hub.token('ann', exp=1)}", 401, 101),
        ("staff:a", staff, 403, 103),
        ("nons:a", "", 401, 101),
        ("nons:a", staff, 403, 103),
        ("a\x07b", "", 400, 107),
    ):
        with EventReader(hub, topic, query, Accept="text/event-stream") as reader:
            assert (reader.status, reader.error["code"]) == (status, code), (topic, query)
            assert reader.headers["content-type"] == "application/json"
            assert reader.error["message"]
    assert sessions(hub) == 0


def test_a_token_may_come_in_the_query_or_as_bearer(hub: LiveHub) -> None:
    for query, headers in (
        (f"token={hub.token('ann')}", {}),
        ("", {"Authorization": f"Bearer {hub.token('ann')}"}),
    ):
        with EventReader(hub, "members:a", query, **headers) as reader:
            assert reader.status == 200


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE"])
def test_a_stream_is_read_with_get_alone(hub: LiveHub, method: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", hub.port, timeout=10)
    connection.request(method, "/sse/plain:a", body=b"x" if method == "POST" else None)
    response = connection.getresponse()
    assert (response.status, response.headers["allow"]) == (405, "GET, OPTIONS")
    connection.close()
    assert sessions(hub) == 0


def test_pages_of_other_origins_are_refused_and_allowed_ones_may_read(hub: LiveHub) -> None:
    with EventReader(hub, "plain:a", Origin="https://evil.example") as reader:
        assert (reader.status, reader.error["code"]) == (403, 103)
        assert "access-control-allow-origin" not in reader.headers
    for origin in ("https://app.example", hub.url):
        with EventReader(hub, "plain:a", Origin=origin) as reader:
            assert reader.status == 200
            assert reader.headers["access-control-allow-origin"] == origin
            assert reader.headers["vary"] == "Origin"
    with EventReader(hub, "plain:a") as reader:
        assert "access-control-allow-origin" not in reader.headers


def test_a_page_may_ask_before_it_sends_headers_of_its_own(hub: LiveHub) -> None:
    response = httpx2.options(f"{hub.url}/sse/plain:a", headers={"Origin": "https://app.example"})
    assert (response.status_code, response.headers["access-control-allow-methods"]) == (204, "GET, OPTIONS")
    assert "Last-Event-ID" in response.headers["access-control-allow-headers"]


def test_a_client_that_goes_is_forgotten_before_it_is_written_to() -> None:
    with LiveHub(CONFIG | {"client": {"ping": "60s"}}) as hub:
        with EventReader(hub, "news:gone").opened():
            assert sessions(hub) == 1

            async def present(inside: Hub) -> int:
                return (await inside.node.presence.stats("news:gone")).clients

            assert hub.call(present) == 1
        until(lambda: sessions(hub) == 0)
        until(lambda: hub.call(present) == 0)


def test_a_quiet_stream_is_kept_alive_by_comments(hub: LiveHub) -> None:
    with EventReader(hub, "plain:quiet").opened() as reader:
        block = reader.block()
        assert block is not None
        assert (block.comments, block.data) == (["ping"], None)


def test_the_hubs_end_of_a_stream_says_why(hub: LiveHub) -> None:
    with EventReader(hub, "members:a", f"token={hub.token('ann')}").opened() as reader:
        publish(hub, "members:a", "last words")
        api(hub, "disconnect", {"user": "ann"})
        assert reader.event().data == "last words"
        end = reader.event()
        assert (end.event, end.json) == ("disconnect", {"code": 3_503, "reason": "force disconnect"})
        assert reader.block() is None


def test_losing_the_topic_ends_the_stream(hub: LiveHub) -> None:
    with EventReader(hub, "members:a", f"token={hub.token('ann')}").opened() as reader:
        api(hub, "unsubscribe", {"user": "ann", "channel": "members:a"})
        assert reader.event().json["code"] == 4_003
        assert reader.block() is None


def test_a_token_that_runs_out_ends_the_stream(hub: LiveHub) -> None:
    token = hub.token("ann", exp=int(time.time()) + 2)
    with EventReader(hub, "members:a", f"token={token}").opened() as reader:
        assert reader.event().json == {"code": 4_001, "reason": "token expired"}
        assert reader.block() is None


def test_a_reader_that_stops_is_ended_and_starves_nobody(hub: LiveHub) -> None:
    with EventReader(hub, "news:slow") as stuck, EventReader(hub, "news:slow").opened() as reader:
        stuck.stop_reading()
        until(lambda: sessions(hub) == 2)
        sent = 0
        while sessions(hub) == 2:
            sent += 1
            assert sent < 1_000, "nothing was ended"
            publish(hub, "news:slow", [sent, "x" * 40_000])
            assert reader.event().json[0] == sent
        publish(hub, "news:slow", [0, ""])
        assert reader.event().json[0] == 0
        assert sessions(hub) == 1


def test_who_was_too_slow_comes_back_with_what_was_missed(hub: LiveHub) -> None:
    with EventReader(hub, "news:back").opened() as reader:
        reader.block()
        first = publish(hub, "news:back", 1)
        assert reader.event().json == 1

        async def end(inside: Hub) -> None:
            for member in inside.node.sessions:
                member.slow()  # type: ignore[attr-defined]

        hub.call(end)
        assert reader.event().json == {"code": 4_008, "reason": "slow"}
    publish(hub, "news:back", 2)
    with EventReader(hub, "news:back", Last_Event_ID=f"{first.offset}:{first.epoch}") as reader:
        assert reader.event().json == 2


def test_curl_is_told_503_while_the_node_drains_and_eventsource_to_come_again() -> None:
    with LiveHub(CONFIG) as hub:
        with EventReader(hub, "plain:a").opened() as reader:
            hub.call(lambda inside: inside.drain())
            assert reader.event().json == {"code": 3_001, "reason": "shutdown"}
            assert reader.block() is None
        with EventReader(hub, "plain:a") as reader:
            assert (reader.status, reader.headers["retry-after"]) == (503, "1")
        with EventReader(hub, "plain:a", Accept="text/event-stream").opened() as reader:
            end = reader.event()
            assert (end.event, end.json["code"]) == ("disconnect", 3_001)
            assert reader.block() is None


def test_streams_do_not_share_what_is_each_ones_own(hub: LiveHub) -> None:
    position = publish(hub, "news:own", 1)
    publish(hub, "news:own", 2)
    with (
        EventReader(hub, "news:own").opened() as fresh,
        EventReader(hub, "news:own", Last_Event_ID=f"1:{position.epoch}") as back,
    ):
        assert back.event().json == 2
        publish(hub, "news:own", 3)
        assert (fresh.event().json, back.event().json) == (3, 3)


def test_curl_reads_what_curl_publishes(hub: LiveHub) -> None:
    with EventReader(hub, "news:curl").opened() as reader:
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = httpx2.post(f"{hub.url}/api/topics/news:curl", content="hi", headers=form).json()
        event = reader.event()
        assert (event.data, event.id) == ("hi", f"{answer['offset']}:{answer['epoch']}")
        page = httpx2.get(f"{hub.url}/api/topics/news:curl").json()
        assert json.dumps(page["publications"][0]["data"]) == '"hi"'
