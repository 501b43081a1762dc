"""What clients give to plugins, as plugins want it: a model's instance, or a refusal that names what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from hub.credentials import WHO
from hub.errors import BAD_REQUEST, ReplyError
from hub.fitness import UnfitError, checked

ModelT = TypeVar("ModelT", bound=BaseModel)


class HasQuery(Protocol):
    """A Starlette Request, as far as `query` needs it."""

    @property
    def query_params(self) -> Mapping[str, str]:
        """What stands behind the question mark."""


def query(request: HasQuery) -> dict[str, str]:
    """The query of a request, without what only says who asks (`token`, `ticket`, `api_key`).

    Raises ReplyError 107 where it holds NUL, which databases choke on.
    """
    found = {name: value for name, value in request.query_params.items() if name not in WHO}
    if any("\0" in text for pair in found.items() for text in pair):
        raise ReplyError(BAD_REQUEST, "bad request: the query holds the character NUL")
    return found


def validated(model: type[ModelT], given: Any) -> ModelT:
    """What a client gave, as an instance of a pydantic model.

    `given` is JSON text as bytes (a request's body, a publication's `raw`) or a decoded value (an RPC's data, a
    request's query); nothing at all counts as an empty object. Raises ReplyError 107 that names each field at fault and
    the rule that it breaks, and repeats none of the values; also for JSON that is nested too deep, names something
    twice, or holds NUL or a number beyond 64 bits.
    """
    try:
        if isinstance(given, bytes):
            return model.model_validate_json(checked(given or b"{}"))
        return model.model_validate({} if given is None else given)
    except UnfitError as error:
        raise ReplyError(BAD_REQUEST, f"bad request: {error}") from None
    except ValidationError as error:
        faults = [
            _fault(item["loc"], item["msg"]) for item in error.errors(include_url=False, include_input=False)
        ]
        more = f" (and {len(faults) - 3} more)" if len(faults) > 3 else ""
        raise ReplyError(BAD_REQUEST, f"bad request: {'; '.join(faults[:3])}{more}") from None


def _fault(loc: tuple[int | str, ...], message: str) -> str:
    place = ".".join(str(part) for part in loc)[:80]
    text = message.removeprefix("Value error, ")
    return f"{place}: {text}" if place else text
