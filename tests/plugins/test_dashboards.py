"""What the dashboards plugin promises, as subscribers, callers of its REST and operators meet it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from textwrap import dedent
from typing import Any

import psutil
import pytest
from websockets.asyncio.client import connect

from hub.plugin import HubError, ReplyError
from hub.testing import HubClient, InProcessHub, LiveHub
from hub_dashboards.boards import EVERY
from hub_dashboards.metrics import METRICS
from hub_dashboards.system import Counts, read_counts, system_figures

SYSTEM = "dashboards:system"
FACTORY = {
    "title": "Factory",
    "panels": {
        "made": {"source": "topic", "metric": "publications", "topic": "line:one"},
        "speed": {"source": "topic", "metric": "rate", "topic": "line:one"},
        "queue": {
            "source": "topic",
            "metric": "value",
            "topic": "line:one",
            "field": "queue.depth",
            "unit": "parts",
        },
        "watchers": {"source": "topic", "metric": "clients", "topic": "line:one"},
        "here": {"source": "topic", "metric": "subscribers", "topic": "line:one"},
    },
}
LINE = {"line:{name}": {"allow": {"subscribe": "anyone"}, "history": {"size": 10}, "presence": True}}


@pytest.fixture
async def hub() -> AsyncIterator[InProcessHub]:
    async with InProcessHub({"plugins": {"dashboards": {}}}) as running:
        yield running


def factory(*, topics: Any = None, **panels: Any) -> InProcessHub:
    dashboard = {"panels": panels} if panels else FACTORY
    plugins = {"dashboards": {"settings": {"dashboards": {"factory": dashboard}}}}
    return InProcessHub({"plugins": plugins, "topics": LINE if topics is None else topics})


async def watcher(hub: InProcessHub, user: str, topic: str = SYSTEM) -> HubClient:
    client = await hub.connect(user)
    await client.subscribe(topic)
    return client


async def top(hub: InProcessHub, topic: str) -> int:
    """How many snapshots were published on a topic."""
    services = hub.blueprint.table.services
    assert services is not None
    return (await services.history(topic, 0, None, False)).position.offset


async def snapshot(hub: InProcessHub, name: str) -> dict[str, Any]:
    answer = await hub.http.get(f"/api/dashboards/{name}", headers=hub.bearer("ann"))
    found: dict[str, Any] = answer.json()["snapshot"]
    return found


def when(snapshot: dict[str, Any]) -> float:
    return datetime.fromisoformat(snapshot["timestamp"]).timestamp()


# Watching


async def test_a_newcomer_has_the_figures_with_the_reply_to_its_subscribe(hub: InProcessHub) -> None:
    client = await hub.connect("ann")
    data = (await client.subscribe(SYSTEM))["data"]
    values = {name: panel["value"] for name, panel in data["panels"].items()}
    assert 0 <= values["cpu"] <= 100
    assert values["memory"] == pytest.approx(psutil.virtual_memory().percent, abs=15)
    assert values["disk"] == pytest.approx(psutil.disk_usage(Path.cwd().anchor).percent, abs=5)
    assert values["net_in"] >= 0
    assert (values["clients"], values["subscriptions"]) == (1, 0)
    assert 0 <= hub.clock.time() - when(data) < 2


async def test_all_watchers_get_the_same_snapshot_every_two_seconds(hub: InProcessHub) -> None:
    ann, bob, cid = [await watcher(hub, user) for user in ("ann", "bob", "cid")]
    first = await cid.expect_publication(SYSTEM)
    for earlier in (ann, bob):  # who may have had one before cid came
        while await earlier.expect_publication(SYSTEM) != first:
            pass
    published, times = await top(hub, SYSTEM), [when(first)]
    for _ in range(2):
        seen = [await client.expect_publication(SYSTEM) for client in (ann, bob, cid)]
        assert seen[0] == seen[1] == seen[2]
        times.append(when(seen[0]))
    assert [later - earlier for earlier, later in pairwise(times)] == [pytest.approx(EVERY, abs=0.7)] * 2
    assert await top(hub, SYSTEM) == published + 2


async def test_nothing_is_measured_while_nobody_watches(hub: InProcessHub) -> None:
    client = await watcher(hub, "ann")
    await client.expect_publication(SYSTEM)
    await client.unsubscribe(SYSTEM)
    before = await top(hub, SYSTEM)
    await asyncio.sleep(1.5 * EVERY)
    assert await top(hub, SYSTEM) == before


async def test_many_first_watchers_at_once_cost_one_measurement(hub: InProcessHub) -> None:
    clients = [await hub.connect(f"user{number}") for number in range(20)]
    replies = await asyncio.gather(*(client.subscribe(SYSTEM) for client in clients))
    assert len({reply["data"]["timestamp"] for reply in replies}) <= 2  # a beat may fall among them
    assert await top(hub, SYSTEM) <= 2


async def test_who_comes_back_recovers_the_latest_snapshot_only(hub: InProcessHub) -> None:
    ann, bob = await watcher(hub, "ann"), await watcher(hub, "bob")
    for _ in range(2):
        latest = await bob.expect_publication(SYSTEM)
    await ann.unsubscribe(SYSTEM)
    reply = await ann.subscribe(SYSTEM, recover=True, offset=1, epoch="gone")
    assert reply["recovered"] is True
    assert [publication["data"] for publication in reply["publications"]] == [latest]


async def test_a_dashboard_asks_for_a_token_unless_the_operator_opens_it() -> None:
    async with InProcessHub({"plugins": {"dashboards": {}}}) as hub:
        with pytest.raises(ReplyError, match="103"):
            await watcher(hub, "")
    opened = {"dashboards:{name}": {"allow": {"subscribe": "anyone"}}}
    async with InProcessHub({"plugins": {"dashboards": {}}, "topics": opened}) as hub:
        await watcher(hub, "")
        assert (await hub.http.get("/api/dashboards/system")).status_code == 200


async def test_nobody_but_the_hub_publishes_snapshots(hub: InProcessHub) -> None:
    client = await watcher(hub, "ann")
    with pytest.raises(ReplyError, match="103"):
        await client.publish(SYSTEM, {"panels": {}})


async def test_a_dashboard_that_is_not_there_is_refused_by_name(hub: InProcessHub) -> None:
    with pytest.raises(ReplyError, match="1404 there is no dashboard sytem"):
        await watcher(hub, "ann", "dashboards:sytem")


async def test_dashboards_work_without_the_history_that_an_operator_took_away() -> None:
    topics = {"dashboards:{name}": {"history": None, "recovery": None}}
    async with InProcessHub({"plugins": {"dashboards": {}}, "topics": topics}) as hub:
        client = await watcher(hub, "ann")
        assert (await client.expect_publication(SYSTEM))["panels"]["cpu"]


def test_a_plain_socket_shows_a_dashboard_from_its_first_frame_on() -> None:
    async def watch(hub: LiveHub) -> list[dict[str, Any]]:
        async with connect(f"{hub.ws_url}/ws/{SYSTEM}?token={hub.token('ann')}") as socket:
            return [json.loads(await socket.recv()) for _ in range(3)]

    with LiveHub({"plugins": {"dashboards": {}}}) as hub:
        frames = asyncio.run(watch(hub))
    assert when(frames[2]) - when(frames[1]) == pytest.approx(EVERY, abs=0.7)
    assert all(frame["panels"].keys() == frames[0]["panels"].keys() for frame in frames)


# REST


async def test_the_list_has_what_the_caller_may_see(hub: InProcessHub) -> None:
    listed = (await hub.http.get("/api/dashboards", headers=hub.bearer("ann"))).json()
    assert listed == {"dashboards": [{"name": "system", "title": "This node", "topic": SYSTEM}]}
    assert (await hub.http.get("/api/dashboards")).json() == {"dashboards": []}
    assert (await hub.http.get("/api/dashboards", headers=hub.api_key)).json() == listed


async def test_a_dashboard_comes_with_its_panels_and_their_latest_values(hub: InProcessHub) -> None:
    found = (await hub.http.get("/api/dashboards/system", headers=hub.bearer("ann"))).json()
    assert found["every"] == EVERY
    assert found["panels"][0] == {
        "id": "cpu",
        "title": "CPU",
        "source": "system",
        "metric": "cpu",
        "kind": "line",
        "unit": "%",
        "max": 100,
    }
    assert [panel["id"] for panel in found["panels"]] == list(found["snapshot"]["panels"])


async def test_rest_and_sockets_tell_the_same_snapshot(hub: InProcessHub) -> None:
    client = await watcher(hub, "ann")
    published = await client.expect_publication(SYSTEM)
    assert await snapshot(hub, "system") == published


@pytest.mark.parametrize(
    ("path", "user", "status"),
    [
        ("/api/dashboards/system", "", 401),
        ("/api/dashboards/nothing", "", 401),
        ("/api/dashboards/nothing", "ann", 404),
        ("/api/dashboards/%00", "ann", 400),
        ("/api/dashboards/" + "x" * 300, "ann", 400),
        ("/api/dashboards/system/more", "ann", 404),
    ],
)
async def test_what_cannot_be_shown_has_a_fitting_status(
    hub: InProcessHub, path: str, user: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await hub.http.get(path, headers=hub.bearer(user) if user else {})
    assert answer.status_code == status
    assert not [record for record in caplog.records if record.exc_info]


# Panels


async def test_panels_show_what_topics_hold() -> None:
    async with factory() as hub:
        client = await watcher(hub, "ann", "line:one")
        for depth in (3, 7):
            await hub.publish("line:one", {"queue": {"depth": depth}})
        first = (await client.subscribe("dashboards:factory"))["data"]["panels"]
        assert {name: panel["value"] for name, panel in first.items()} == {
            "made": 2,
            "speed": None,
            "queue": 7,
            "watchers": 1,
            "here": 1,
        }
        assert not any("error" in panel for panel in first.values())
        for _ in range(6):
            await hub.publish("line:one", {"queue": {"depth": 0}})
        second: dict[str, Any] = {}
        while second.get("made", {}).get("value") != 8 or not second["speed"]["value"]:
            second = (await client.expect_publication("dashboards:factory"))["panels"]
        assert second["queue"]["value"] == 0
        assert 0 < second["speed"]["value"] <= 6


@pytest.mark.parametrize(
    ("published", "field", "error"),
    [
        ({"queue": {}}, "queue.depth", "the latest publication has no queue.depth"),
        ({"queue": 5}, "queue.depth", "the latest publication has no queue.depth"),
        ([1, 2], "queue", "the latest publication has no queue"),
        ({"queue": "many"}, "queue", "queue is not a number"),
        ({"queue": True}, "queue", "queue is not a number"),
        ("text", None, "the latest publication is not a number"),
    ],
)
async def test_a_payload_without_the_number_is_told_in_its_panel_alone(
    published: Any, field: str | None, error: str
) -> None:
    panel = {"source": "topic", "metric": "value", "topic": "line:one", "field": field}
    async with factory(bad=panel, good={"source": "hub", "metric": "clients"}) as hub:
        await hub.publish("line:one", published)
        panels = (await snapshot(hub, "factory"))["panels"]
        assert panels == {"bad": {"value": None, "error": error}, "good": {"value": 0}}


@pytest.mark.parametrize(
    ("metric", "topics", "error"),
    [
        ("value", {}, "no pattern declares this topic"),
        ("users", {}, "no pattern declares this topic"),
        ("rate", {"line:one": {}}, "the topic has no history"),
        ("clients", {"line:one": {}}, "the topic has no presence"),
    ],
)
async def test_a_topic_that_cannot_tell_says_why_in_its_panel(metric: str, topics: Any, error: str) -> None:
    async with factory(topics=topics, it={"source": "topic", "metric": metric, "topic": "line:one"}) as hub:
        assert (await snapshot(hub, "factory"))["panels"] == {"it": {"value": None, "error": error}}


async def test_a_topic_without_publications_has_no_value_and_no_error() -> None:
    async with factory(it={"source": "topic", "metric": "value", "topic": "line:one"}) as hub:
        assert (await snapshot(hub, "factory"))["panels"] == {"it": {"value": None}}


async def test_every_metric_of_machine_and_hub_has_a_value_or_says_that_there_is_none() -> None:
    panels = {
        f"{source}-{metric}": {"source": source, "metric": metric}
        for source in ("system", "hub")
        for metric in METRICS[source]
    }
    async with factory(**panels) as hub:
        shown = (await snapshot(hub, "factory"))["panels"]
    assert shown.keys() == panels.keys()
    for name, panel in shown.items():
        assert panel["value"] is not None or panel["error"] == "this machine does not tell", name
        assert panel["value"] is None or panel["value"] >= 0, name
    assert all(shown[f"system-{metric}"]["value"] > 0 for metric in ("memory_used", "process_memory"))


# What the machine counts


def counts(**changed: Any) -> Counts:
    known: dict[str, Any] = dict.fromkeys(Counts.__dataclass_fields__, 0.0)
    return Counts(**(known | changed))


def test_rates_and_shares_hold_for_the_time_between_two_readings() -> None:
    before = counts(at=10.0, busy=100.0, total=1_000.0, net_in=5_000, disk_write=0, process_busy=1.0)
    now = counts(at=12.0, busy=101.0, total=1_004.0, net_in=9_000, disk_write=3, process_busy=2.5, load=0.517)
    figures = system_figures(before, now)
    assert figures["cpu"] == 25.0
    assert figures["net_in"] == 2_000
    assert figures["disk_write"] == 2
    assert figures["process_cpu"] == 75.0
    assert figures["load"] == 0.52


def test_counters_that_restart_or_are_missing_give_no_wild_figures() -> None:
    before = counts(at=10.0, total=1_000.0, net_in=9_000, disk_read=None)
    now = counts(at=12.0, total=1_000.0, net_in=10, disk_read=5)
    figures = system_figures(before, now)
    assert (figures["cpu"], figures["net_in"], figures["disk_read"]) == (None, 0, None)


def test_this_machine_can_be_read() -> None:
    found = read_counts(psutil.Process())
    assert found.total is not None
    assert found.busy is not None
    assert 0 < found.busy < found.total
    assert found.process_memory == pytest.approx(psutil.Process().memory_info().rss, rel=0.2)


# What operators write


def configured(folder: Path, settings: str, dashboards: str = "") -> Path:
    (folder / "boards").mkdir()
    (folder / "boards/dashboards.yaml").write_text(dedent(dashboards))
    text = f"""
        auth: {{anonymous: true, jwt: {{secret: "of-this-test-only-0123456789-abcdefghijkl", require_exp: false}}}}
        database: {{url: "sqlite://"}}
        plugins:
          dashboards:
            settings: {settings}
        """
    (folder / "hub.yaml").write_text(dedent(text))
    return folder / "hub.yaml"


def refused(folder: Path, settings: str, dashboards: str) -> list[str]:
    """The problems that `hub check` tells, their files named from the configuration's folder."""
    with pytest.raises(HubError) as raised:
        InProcessHub(configured(folder, settings, dashboards))
    return str(raised.value).replace(f"{folder}/", "").splitlines()[:-1]


async def test_dashboards_come_from_a_file_beside_hub_yaml_and_from_the_settings(tmp_path: Path) -> None:
    dashboards = """
        dashboards:
          office:
            title: Our office
            panels:
              clients: {source: hub, metric: clients, kind: gauge, max: 50, unit: people, title: Online}
              cpu: {source: system, metric: cpu}
        """
    settings = (
        "{config: boards/dashboards.yaml, dashboards: {more: {panels: {x: {source: hub, metric: users}}}}}"
    )
    async with InProcessHub(configured(tmp_path, settings, dashboards)) as hub:
        listed = (await hub.http.get("/api/dashboards", headers=hub.bearer("ann"))).json()["dashboards"]
        assert [(one["name"], one["title"]) for one in listed] == [("office", "Our office"), ("more", "more")]
        office = (await hub.http.get("/api/dashboards/office", headers=hub.bearer("ann"))).json()
    assert office["panels"][0] == {
        "id": "clients",
        "title": "Online",
        "source": "hub",
        "metric": "clients",
        "kind": "gauge",
        "unit": "people",
        "max": 50,
    }


@pytest.mark.parametrize(
    ("panel", "at", "key", "told"),
    [
        ("{source: system, metric: cpuu}", "cpuu", ".metric", "did you mean `cpu`?"),
        ("{source: sytem, metric: cpu}", "sytem", ".source", "Did you mean `system`?"),
        ("{metric: cpu}", "panel:", ".source", "this setting has no default"),
        ("{source: hub, metric: users, knd: line}", "knd", ".knd", "Did you mean `kind`?"),
        ("{source: hub, metric: users, kind: pie}", "pie", ".kind", "Allowed: number, line, bar, gauge"),
        ("{source: hub, metric: users, kind: gauge}", "{", "", "needs `max:`"),
        ("{source: hub, metric: users, max: 0}", "0", ".max", "more than 0"),
        ("{source: hub, metric: users, max: no}", "no", ".max", "is not clear"),
        ("{source: topic, metric: rate}", "{", "", "needs `topic:`"),
        ("{source: hub, metric: users, topic: a}", "{", "", "takes no `topic`"),
        ('{source: topic, metric: rate, topic: ""}', '""', ".topic", "must not be empty"),
        ("{source: topic, metric: rate, topic: a, field: b}", "{", "", "`field` goes with"),
        ("{source: hub, metric: users, metric: clients}", "metric: clients", ".metric", "duplicate key"),
        ("cpu", "cpu", "", "where a map is needed"),
    ],
)
def test_a_mistake_in_a_panel_is_told_with_its_line_and_the_remedy(
    tmp_path: Path, panel: str, at: str, key: str, told: str
) -> None:
    line = f"   panel: {panel}"
    dashboards = f"dashboards:\n office:\n  title: Our office\n  # below, the fault\n  panels:\n{line}\n"
    lines = [
        problem
        for problem in refused(tmp_path, "{config: boards/dashboards.yaml}", dashboards)
        if told in problem
    ]
    place = f"boards/dashboards.yaml:6:{line.index(at) + 1} dashboards.office.panels.panel{key}:"
    assert [problem.startswith(place) for problem in lines] == [True], lines


@pytest.mark.parametrize(
    ("settings", "dashboards", "told"),
    [
        ("{config: boards/dashboard.yaml}", "", "hub.yaml:6:24 plugins.dashboards.settings.config"),
        (
            "{config: boards/dashboards.yaml}",
            "",
            "dashboards.yaml:1:1 dashboards: this setting has no default",
        ),
        ("{config: boards/dashboards.yaml}", "dashboards: {}", "there must be at least one"),
        ("{config: boards/dashboards.yaml}", "dashboards: {a: {panels: {}}}", "there must be at least one"),
        ("{config: boards/dashboards.yaml}", "dashboards: {a b: {panels: {}}}", "a name is made of"),
        ("{config: boards/dashboards.yaml}", "dashboards: [", "dashboards.yaml:1"),
        ("{dashboards: {x: {panels: {y: {source: hub, metric: user}}}}}", "", "did you mean `users`"),
        ("{dashbords: {}}", "", "Did you mean `dashboards`?"),
    ],
)
def test_what_cannot_be_a_dashboard_is_refused_before_the_start(
    tmp_path: Path, settings: str, dashboards: str, told: str
) -> None:
    assert told in "\n".join(refused(tmp_path, settings, dashboards))


def test_a_name_in_the_file_and_in_the_settings_is_refused(tmp_path: Path) -> None:
    one = "{panels: {y: {source: hub, metric: users}}}"
    settings = f"{{config: boards/dashboards.yaml, dashboards: {{one: {one}}}}}"
    [told] = refused(tmp_path, settings, f"dashboards: {{one: {one}}}")
    assert "the file has a dashboard of this name too: one" in told


async def test_a_dashboard_that_a_handler_guards_is_not_shown_over_http() -> None:
    gate = {"subscribe": "tests.integration.permission_handlers:gate"}
    topics = {"dashboards:{name}": {"allow": {"subscribe": "handler"}, "handlers": gate}}
    async with InProcessHub({"plugins": {"dashboards": {}}, "topics": topics}) as hub:
        assert await watcher(hub, "ann")
        for headers in (hub.bearer("eve"), {}):
            answer = await hub.http.get("/api/dashboards/system", headers=headers)
            assert answer.status_code in {401, 403}, answer.text
            listed = await hub.http.get("/api/dashboards", headers=headers)
            assert "system" not in listed.text
        assert (await hub.http.get("/api/dashboards/system", headers=hub.api_key)).status_code == 200
