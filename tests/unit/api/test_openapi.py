"""The OpenAPI document tells what is in force, no more and no less."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Mount, Route

from hub.api.methods import METHODS
from hub.api.openapi import Offer, document
from hub.app import create_app, create_internal_app
from hub.documented import documented
from hub.testing import InProcessHub, LiveHub
from hub_chat.rooms import NewRoom, RoomPage

ALL: dict[str, Any] = {"plugins": {"chat": {}, "dashboards": {}, "notifications": {}}}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Any:
    database = tmp_path_factory.mktemp("openapi") / "hub.db"
    with LiveHub({**ALL, "database": {"url": f"sqlite:///{database}"}}) as hub:
        answer = httpx2.get(f"{hub.url}/openapi.json")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


def test_the_document_is_valid(told: Any) -> None:
    faults = [f"{list(fault.path)}: {fault.message}" for fault in OpenAPIV31SpecValidator(told).iter_errors()]
    assert faults == []
    assert told["openapi"].startswith("3.1.")


def test_every_method_of_the_server_api_is_told_with_its_request(told: Any) -> None:
    assert {f"/api/{name}" for name in METHODS} <= set(told["paths"])
    publish = told["paths"]["/api/publish"]["post"]
    (body,) = publish["requestBody"]["content"].values()
    assert body["schema"] == {"$ref": "#/components/schemas/Publish"}
    assert told["components"]["schemas"]["Publish"]["properties"].keys() >= {"channel", "data", "b64data"}
    assert {"ApiKey": []} in publish["security"]
    assert {} not in publish["security"]


def test_plugins_tell_their_bodies_and_queries(told: Any) -> None:
    rooms = told["paths"]["/api/chat/rooms"]
    (body,) = rooms["post"]["requestBody"]["content"].values()
    schema = told["components"]["schemas"][body["schema"]["$ref"].rpartition("/")[2]]
    assert schema["properties"]["name"]["maxLength"] == 64
    assert (
        rooms["post"]["summary"] == "Creates a room: 201, or 200 when the same user created the same before."
    )
    names = {parameter["name"]: parameter for parameter in rooms["get"]["parameters"]}
    assert names.keys() == {"after", "limit"}
    assert names["limit"]["schema"]["type"] == "integer", "a query has no null"
    (part,) = told["paths"]["/api/notifications/{id}/read"]["post"]["parameters"]
    assert (part["in"], part["schema"]["type"]) == ("path", "integer")


def test_a_message_may_be_a_bare_text(told: Any) -> None:
    body = told["paths"]["/api/chat/rooms/{room}/messages"]["post"]["requestBody"]["content"]
    schema = told["components"]["schemas"][body["application/json"]["schema"]["$ref"].rpartition("/")[2]]
    assert [option["type"] for option in schema["anyOf"]] == ["string", "object"]


def test_tickets_revocations_and_kicks_are_told(told: Any) -> None:
    assert told["paths"]["/api/ticket"]["post"]["responses"]["200"]
    assert told["components"]["schemas"]["TicketRequest"]["required"] == ["user"]
    assert {"/api/revoke", "/api/unrevoke", "/api/revocations"} <= told["paths"].keys()
    assert "Kick" in str(told["paths"]["/api/chat/rooms/{room}/kicks"]["post"]["requestBody"])


def test_errors_and_ways_to_say_who_asks_are_told(told: Any) -> None:
    assert told["components"]["securitySchemes"]["ApiKey"]["name"] == "X-API-Key"
    assert told["components"]["securitySchemes"]["Token"]["scheme"] == "bearer"
    refused = told["paths"]["/api/topics/{topic}"]["post"]["responses"]["4XX"]
    assert refused["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Refusal"}


def test_tickets_are_told_with_all_that_may_ask_for_one(told: Any) -> None:
    ticket = told["paths"]["/api/ticket"]["post"]
    assert {name for way in ticket["security"] for name in way} == {
        "ApiKey",
        "ApiKeyInQuery",
        "Token",
        "TokenInQuery",
    }
    schemas = told["components"]["schemas"]
    assert set(schemas["TicketRequest"]["properties"]) == {"user", "claims", "origin"}
    assert set(schemas["Ticket"]["properties"]) == {"ticket", "expires_in"}


async def test_what_is_off_is_not_told() -> None:
    async with InProcessHub({}) as hub:
        paths = (await hub.http.get("/openapi.json")).json()["paths"]
    assert not [path for path in paths if path.startswith("/api/chat")]
    assert "/api/publish" in paths


async def test_with_an_internal_port_the_document_is_there_and_not_on_the_public_one(
    tmp_path: Path,
) -> None:
    config = {
        **ALL,
        "server": {"internal": {"port": 0}},
        "database": {"url": f"sqlite:///{tmp_path / 'hub.db'}"},
    }
    async with InProcessHub(config) as hub:
        assert (await hub.http.get("/openapi.json")).status_code == 404
        transport = httpx2.ASGITransport(create_internal_app(hub.hub))
        async with httpx2.AsyncClient(transport=transport, base_url="http://internal") as internal:
            paths = (await internal.get("/openapi.json")).json()["paths"]
    assert "servers" not in paths["/api/publish"]
    (server,) = paths["/api/topics/{topic}"]["servers"]
    assert server["variables"]["port"]["default"] == str(hub.hub.blueprint.settings.server.port)


def routes_of_a_stranger() -> list[Any]:
    async def answer(request: Any) -> JSONResponse:
        return JSONResponse({})

    @documented(body=NewRoom, query=RoomPage)
    async def both(request: Any) -> JSONResponse:
        """Does both."""
        return JSONResponse({})

    return [
        Route("/", answer),
        Route("/", answer, methods=["POST"]),
        Route("/same", answer),
        Mount("/deep", routes=[Route("/{a:float}/{b:path}", both, methods=["PUT"])]),
    ]


def test_the_routes_of_any_plugin_make_a_valid_document() -> None:
    told = document(Offer(["publish"], {"odd": routes_of_a_stranger()}, metrics=False, public_port=None))
    assert list(OpenAPIV31SpecValidator(told).iter_errors()) == []
    assert set(told["paths"]["/api/odd"]) == {"get", "post"}
    both = told["paths"]["/api/odd/deep/{a}/{b}"]["put"]
    assert both["summary"] == "Does both."
    assert [each["name"] for each in both["parameters"]] == ["a", "b", "after", "limit"]
    assert both["requestBody"]["required"]
    assert "/metrics" not in told["paths"]
    assert "/api/history" not in told["paths"]
    ids = [
        each["operationId"]
        for item in told["paths"].values()
        for each in item.values()
        if "operationId" in each
    ]
    assert len(ids) == len(set(ids))


def test_the_document_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def counting(offer: Offer) -> dict[str, Any]:
        made.append(offer)
        return {}

    monkeypatch.setattr("hub.api.openapi.document", counting)
    with LiveHub({"database": {"url": f"sqlite:///{tmp_path / 'hub.db'}"}}) as hub:
        assert [httpx2.get(f"{hub.url}/openapi.json").json() for _ in range(3)] == [{}] * 3
    assert len(made) == 1


def paths_of(routes: Iterable[BaseRoute], prefix: str = "") -> Iterator[str]:
    """Paths at which plain HTTP is answered, as OpenAPI writes them; folders of files, and sockets, have none."""
    for route in routes:
        if isinstance(route, Mount):
            yield from paths_of(route.routes, prefix + route.path_format.removesuffix("/{path}"))
        elif isinstance(route, Route) and route.include_in_schema:
            yield (prefix + route.path_format).rstrip("/")


async def test_every_route_in_force_is_told(tmp_path: Path) -> None:
    async with InProcessHub({**ALL, "database": {"url": f"sqlite:///{tmp_path / 'hub.db'}"}}) as hub:
        told = (await hub.http.get("/openapi.json")).json()["paths"]
        found = set(paths_of(create_app(hub.hub).routes))
    sockets = {"/connection/websocket", "/connection/uni_websocket", "/ws/{topic}"}
    assert found - set(told) - sockets == {"/openapi.json", "/sse/{topic}"}
    assert set(told) - found == set()
