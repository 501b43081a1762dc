"""What senders and devices may ask for."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

BIGGEST: Final = 2**63 - 1
_CLICK: Final = re.compile(r"https?://\S+|/(?!/)\S*")


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not hold U+0000")
    return text


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text


def _link(text: str) -> str:
    # Pages make a link of it: javascript: and its like have no place there, nor has //another.host.
    if text and not _CLICK.fullmatch(text):
        raise ValueError("must be an http or https address, or a path that begins with a single /")
    return text


def _json(value: Any) -> Any:
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        raise ValueError("holds a number that JSON cannot say") from None
    return value


Storable = AfterValidator(_storable)
Short = Annotated[str, Field(min_length=1, max_length=100), Storable]
Tag = Annotated[str, Field(min_length=1, max_length=40), Storable]
Id = Annotated[int, Field(ge=1, le=BIGGEST)]


class NewNotification(BaseModel):
    """A notification to be sent to a user."""

    model_config = ConfigDict(extra="forbid", strict=True)

    user: Annotated[str, Field(min_length=1, max_length=200), Storable]
    title: Annotated[str, Field(max_length=200), Storable, AfterValidator(_not_blank)]
    body: Annotated[str, Storable] = ""
    priority: int = Field(3, ge=1, le=5)
    tags: list[Tag] = Field(default_factory=list, max_length=10)
    click: Annotated[str, Field(max_length=1_000), Storable, AfterValidator(_link)] = ""
    data: Annotated[JsonValue, AfterValidator(_json)] = None
    key: Short | None = None


class ListQuery(BaseModel):
    """Which notifications are asked for: the latest, or those before an id; all or the unread ones."""

    model_config = ConfigDict(extra="forbid")

    unread: bool = False
    before: Id | None = None
    limit: int | None = Field(None, ge=1)


class ReadIds(BaseModel):
    """Which notifications were read."""

    model_config = ConfigDict(extra="forbid", strict=True)

    ids: list[Id] = Field(min_length=1, max_length=100)


class ReadAll(BaseModel):
    """All were read, up to the newest that the device knows when it says so."""

    model_config = ConfigDict(extra="forbid", strict=True)

    up_to: Id | None = None


class NoFields(BaseModel):
    """A request that says nothing."""

    model_config = ConfigDict(extra="forbid")
