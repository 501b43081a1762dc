"""The part of the OpenAPI document that tells of one plugin's routes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.routing import Route

from hub.documented import documents

Json = dict[str, Any]
_METHODS: Final = ("GET", "PUT", "POST", "DELETE", "PATCH")
_PARTS: Final[Mapping[str, Json]] = {
    "IntegerConvertor": {"type": "integer", "minimum": 0},
    "FloatConvertor": {"type": "number", "minimum": 0},
    "UUIDConvertor": {"type": "string", "format": "uuid"},
}
_TEXT: Final[Json] = {"type": "string", "minLength": 1}


class PluginDocument:
    """The `paths` and `schemas` of a plugin; names of schemas begin with its own."""

    def __init__(
        self, name: str, routes: Sequence[tuple[str, Route]], refusals: Json, security: Sequence[Json]
    ) -> None:
        """`routes` with their paths within the plugin; `refusals` and `security` are those of each operation."""
        self.paths: dict[str, Json] = {}
        self.schemas: Json = {}
        self._name = name
        self._common = {"tags": [name], "security": list(security)}
        self._refusals = refusals
        self._models = self._modelled([route for _, route in routes])
        self._ids: set[str] = set()
        for path, route in routes:
            self._add(f"/api/{name}{path}".rstrip("/"), route)

    def _modelled(self, routes: Sequence[Route]) -> dict[type[BaseModel], Json]:
        said = [documents(route.endpoint) for route in routes]
        models = dict.fromkeys(
            model for each in said for model in (each.body, each.query) if model is not None
        )
        wanted = [(model, "validation") for model in models]
        template = f"#/components/schemas/{self._name}.{{model}}"
        found, definitions = models_json_schema(wanted, ref_template=template)  # type: ignore[arg-type]
        defined = definitions.get("$defs", {})
        self.schemas = {f"{self._name}.{name}": schema for name, schema in defined.items()}
        return {model: found[model, "validation"] for model in models}

    def _add(self, path: str, route: Route) -> None:
        item = self.paths.setdefault(path, {})
        parameters = [
            {
                "name": name,
                "in": "path",
                "required": True,
                "schema": _PARTS.get(type(convertor).__name__, _TEXT),
            }
            for name, convertor in route.param_convertors.items()
        ]
        for method in _METHODS:
            if route.methods is None or method in route.methods:
                item.setdefault(method.lower(), self._operation(method, route, parameters))

    def _operation(self, method: str, route: Route, parameters: list[Json]) -> Json:
        said = documents(route.endpoint)
        about = (getattr(route.endpoint, "__doc__", None) or "").strip().partition("\n")[0]
        told: Json = {
            "operationId": self._id(route.name, method),
            "summary": about,
            **self._common,
            "parameters": [*parameters, *(self._query(said.query) if said.query else ())],
            "responses": {"204": {"description": "Done."}, "2XX": _DONE, **self._refusals},
        }
        if said.body is not None:
            needed = any(field.is_required() for field in said.body.model_fields.values())
            body = {"application/json": {"schema": self._models[said.body]}}
            told["requestBody"] = {"required": needed, "content": body}
        return told

    def _id(self, name: str, method: str) -> str:
        found = f"{self._name}_{name}"
        if found in self._ids:
            found = f"{found}_{method.lower()}"
        while found in self._ids:
            found += "_"
        self._ids.add(found)
        return found

    def _query(self, model: type[BaseModel]) -> list[Json]:
        reference = self._models[model]["$ref"].rpartition("/")[2]
        schema = self.schemas[reference]
        required = schema.get("required", [])
        return [
            {"name": name, "in": "query", "required": name in required, "schema": _without_null(found)}
            for name, found in schema.get("properties", {}).items()
        ]


_DONE: Final[Json] = {"description": "Done.", "content": {"application/json": {"schema": {}}}}


def _without_null(schema: Json) -> Json:
    """The schema of what a query can say: it has no null."""
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    kept = {key: value for key, value in schema.items() if key != "default" or value is not None}
    if len(options) == 1:
        kept.pop("anyOf")
        return {**kept, **options[0]}
    return {**kept, "anyOf": options} if options else kept
