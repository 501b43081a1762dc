"""What a route of a plugin takes, said beside it, so that the OpenAPI document can tell it to others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pydantic import BaseModel

EndpointT = TypeVar("EndpointT", bound=Callable[..., Any])
_MARK: Final = "__hub_documented__"


@dataclass(frozen=True, slots=True)
class Documented:
    """The models of a route's body and query; None where it takes none, or does not say."""

    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None


def documented(
    *, body: type[BaseModel] | None = None, query: type[BaseModel] | None = None
) -> Callable[[EndpointT], EndpointT]:
    """Says which pydantic models a route's endpoint reads its body and its query with, for `/openapi.json`.

    It is a decorator, and changes nothing about the endpoint, which still calls `validated` by itself::

        @documented(body=NewRoom)
        async def create_room(request): ...

    The endpoint's docstring becomes the summary.
    """

    def mark(endpoint: EndpointT) -> EndpointT:
        setattr(endpoint, _MARK, Documented(body, query))
        return endpoint

    return mark


def documents(endpoint: object) -> Documented:
    """What was said of an endpoint."""
    found = getattr(endpoint, _MARK, None)
    return found if isinstance(found, Documented) else Documented()
