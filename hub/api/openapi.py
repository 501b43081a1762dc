"""The OpenAPI document of what this hub answers over HTTP: `/openapi.json`, beside the server API.

It is made of what is in force: the structs that decode requests of the server API, the routes of the plugins that are
on, and what those say of themselves by `hub.plugin.documented`.
"""

from __future__ import annotations

import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route

from hub import __version__
from hub.api.methods import METHODS
from hub.api.plugin_document import PluginDocument
from hub.api.tickets import PATH as TICKETS
from hub.api.tickets import Ticket, TicketRequest
from hub.api.topics import Kept, Published
from hub.protocol.http import NO_STORE
from hub.protocol.json_codec import encode

Json = dict[str, Any]
PATH: Final = "/openapi.json"
_REF: Final = "#/components/schemas/{name}"
_NOT_THE_RESULT: Final = frozenset({"batch"})
"""Methods whose result is the whole answer."""
_TRANSPORT: Final = ("401", "403", "404", "409", "416", "429", "500", "504")
_SCHEMES: Final[Json] = {
    "ApiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "A key of `auth.api_keys`.",
    },
    "ApiKeyInQuery": {"type": "apiKey", "in": "query", "name": "api_key"},
    "Token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "A client's token."},
    "TokenInQuery": {"type": "apiKey", "in": "query", "name": "token"},
}
_BY_KEY: Final[list[Json]] = [{"ApiKey": []}, {"ApiKeyInQuery": []}]
_BY_ANYBODY: Final[list[Json]] = [{"Token": []}, {"TokenInQuery": []}, *_BY_KEY, {}]
_CODE: Final[Json] = {"type": "integer", "description": "A number of docs/reference/codes.md."}
_ERROR: Final[Json] = {
    "type": "object",
    "required": ["code", "message"],
    "properties": {"code": _CODE, "message": {"type": "string"}},
}
_REFUSAL: Final[Json] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "name", "message"],
            "properties": {
                "code": _CODE,
                "name": {"type": "string"},
                "message": {"type": "string"},
                "topic": {"type": "string"},
                "pointer": {"type": "string", "description": "Where a payload breaks its topic's schema."},
            },
        }
    },
}


@dataclass(frozen=True, slots=True)
class Offer:
    """What is in force: methods of the server API, routes of plugins by name, whether metrics are told beside them.

    `public_port` is where all but the server API, health and metrics are to be found, when that is another port.
    """

    methods: Sequence[str]
    plugins: Mapping[str, Sequence[BaseRoute]]
    metrics: bool
    public_port: int | None


def openapi_route(offer: Offer) -> Route:
    """The document, made when it is asked for the first time."""

    @cache
    def body() -> bytes:
        return encode(document(offer))

    async def answer(_: Request) -> Response:
        return Response(body(), 200, NO_STORE, "application/json")

    return Route(PATH, answer)


def document(offer: Offer) -> Json:
    """The whole document, as OpenAPI 3.1 has it."""
    plugins = [
        PluginDocument(name, list(_plain(routes)), _refusals(), _BY_ANYBODY)
        for name, routes in offer.plugins.items()
    ]
    schemas: Json = {"Error": _ERROR, "Refusal": _REFUSAL, **_structs()}
    elsewhere = {"/api/topics/{topic}": _topics()}
    for plugin in plugins:
        elsewhere |= plugin.paths
        schemas |= plugin.schemas
    if offer.public_port is not None:
        elsewhere = {
            path: {"servers": [_server(offer.public_port)], **item} for path, item in elsewhere.items()
        }
    return {
        "openapi": "3.1.0",
        "info": {"title": "topichub", "version": __version__, "description": _ABOUT},
        "servers": [{"url": "/"}],
        "paths": {
            **{f"/api/{name}": {"post": _method(name)} for name in offer.methods},
            TICKETS: _tickets(),
            **elsewhere,
            **_health(metrics=offer.metrics),
        },
        "components": {"schemas": schemas, "securitySchemes": _SCHEMES},
    }


_ABOUT: Final = (
    "Sockets and event streams are no part of OpenAPI; docs/reference/protocol.md describes them. "
    "Fields that are not known are ignored by the server API."
)


def _server(port: int) -> Json:
    variables = {"host": {"default": "localhost"}, "port": {"default": str(port)}}
    return {"url": "http://{host}:{port}", "description": "The public port.", "variables": variables}


def _plain(routes: Iterable[BaseRoute], prefix: str = "") -> Iterator[tuple[str, Route]]:
    """Routes of HTTP with the paths that they have within their plugin."""
    for route in routes:
        if isinstance(route, Mount):
            yield from _plain(route.routes, f"{prefix}{route.path_format.removesuffix('/{path}')}")
        elif isinstance(route, Route):
            yield f"{prefix}{route.path_format}", route


# The server API


def _structs() -> Json:
    types = [kind for name in METHODS for kind in (METHODS[name].request, _result(name)) if _is_struct(kind)]
    _, found = msgspec.json.schema_components(
        [*types, Published, Kept, TicketRequest, Ticket], ref_template=_REF
    )
    return found


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _result(name: str) -> Any:
    return typing.get_type_hints(METHODS[name].call)["return"]


def _schema(kind: Any) -> Json:
    if _is_struct(kind):
        return {"$ref": _REF.format(name=kind.__name__)}
    return {"type": "object"}


def _method(name: str) -> Json:
    method = METHODS[name]
    result = _schema(_result(name))
    whole = result if name in _NOT_THE_RESULT else _object(result=result)
    about = (method.call.__doc__ or "").strip()
    return {
        "operationId": f"api_{name}",
        "summary": about.partition("\n")[0],
        "tags": ["server API"],
        "security": _BY_KEY,
        "parameters": [_ERROR_MODE],
        "requestBody": {"content": {"application/json": {"schema": _schema(method.request)}}},
        "responses": {
            "200": _json("Done, or refused with an error.", {"anyOf": [_object(error=_ref("Error")), whole]}),
            **{status: _json("Refused.", _ref("Error")) for status in _TRANSPORT},
            "400": _text("No such request.", **_json("", _ref("Error"))["content"]),
            "401": {"description": "No key, or an unknown one; in transport mode also an error."},
            "408": _text("The body did not come in time."),
            "413": _text("The body is too large."),
            "500": _text("The hub failed.", **_json("", _ref("Error"))["content"]),
        },
    }


_ERROR_MODE: Final[Json] = {
    "name": "X-Centrifugo-Error-Mode",
    "in": "header",
    "required": False,
    "description": "`transport`: errors have a status of their own.",
    "schema": {"type": "string", "examples": ["transport"]},
}


# The rest


def _topics() -> Json:
    topic = {"name": "topic", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    key = {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "maxLength": 255}}
    payload = {
        "application/json": {"schema": {}},
        "text/plain": {"schema": {"type": "string", "minLength": 1}},
    }
    return {
        "parameters": [topic],
        "get": {
            "operationId": "topic_history",
            "summary": "Reads what is kept of a topic.",
            "tags": ["topics"],
            "security": _BY_ANYBODY,
            "parameters": _HISTORY,
            "responses": {"200": _json("Publications, oldest first.", _schema(Kept)), **_refusals()},
        },
        "post": {
            "operationId": "topic_publish",
            "summary": "Publishes the body: JSON as it stands, any other text as a JSON string.",
            "tags": ["topics"],
            "security": _BY_ANYBODY,
            "parameters": [key],
            "requestBody": {"required": True, "content": payload},
            "responses": {"200": _json("Published.", _schema(Published)), **_refusals()},
        },
    }


def _tickets() -> Json:
    return {
        "post": {
            "operationId": "ticket",
            "summary": "Gives a one-time ticket: for the asking user, or by API key for the one that is named.",
            "tags": ["tickets"],
            "security": [*_BY_KEY, {"Token": []}, {"TokenInQuery": []}, {}],
            "requestBody": {
                "description": "With an API key only.",
                "content": {"application/json": {"schema": _schema(TicketRequest)}},
            },
            "responses": {"200": _json("A ticket.", _schema(Ticket)), **_refusals()},
        }
    }


def _query(name: str, schema: Json, description: str) -> Json:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}


_HISTORY: Final = [
    _query("limit", {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}, "Most publications; 0: none."),
    _query("since", {"type": "string", "pattern": r"^([0-9]{1,18}(:.*)?)?$"}, "`offset` or `offset:epoch`."),
    _query("reverse", {"type": "string", "enum": ["0", "1", "false", "true"]}, "Newest first."),
]


def _health(*, metrics: bool) -> Json:
    status = {"type": "string", "enum": ["ok", "unavailable"]}
    checks = {"type": "object", "additionalProperties": {"enum": ["ok", "failed", "timeout"]}}
    ready = {
        "type": "object",
        "required": ["status", "checks"],
        "properties": {"status": status, "checks": checks},
    }
    found = {
        "/health": _probe("health", "Answers while the process does.", {"200": _json("It does.", _object())}),
        "/health/live": _probe(
            "health_live", "The same.", {"200": _json("It does.", _object(status=status))}
        ),
        "/health/ready": _probe(
            "health_ready",
            "Whether it can serve.",
            {"200": _json("It can.", ready), "503": _json("It cannot.", ready)},
        ),
    }
    if metrics:
        told = {"200": _text("Figures for Prometheus."), "503": _text("There are none at the moment.")}
        found["/metrics"] = _probe("metrics", "Figures.", told)
    return found


def _probe(name: str, summary: str, responses: Json) -> Json:
    return {
        "get": {
            "operationId": name,
            "summary": summary,
            "tags": ["health"],
            "security": [],
            "responses": responses,
        }
    }


def _refusals() -> Json:
    told = _text("Refused.", **_json("", _ref("Refusal"))["content"])
    return {"4XX": told, "5XX": {**told, "description": "The hub, its broker or its database failed."}}


def _ref(name: str) -> Json:
    return {"$ref": _REF.format(name=name)}


def _object(**properties: Json) -> Json:
    return {"type": "object", "required": list(properties), "properties": properties}


def _json(description: str, schema: Json) -> Json:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _text(description: str, **more: Json) -> Json:
    return {"description": description, "content": {"text/plain": {"schema": {"type": "string"}}, **more}}
