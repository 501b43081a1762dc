"""What `settings` of the chat plugin may say in hub.yaml."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class ChatSettings(BaseModel):
    """All have defaults: `chat: {}` is a working chat."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    open_rooms: bool = Field(
        True,
        description="Whether a room comes into being with its first message; else it has to be created by REST before.",
    )
    creators: list[str] = Field(
        default_factory=list,
        description="Roles that may create rooms by REST; empty: everybody who may publish in the room.",
    )
    moderators: list[str] = Field(
        default_factory=list, description="Roles that may kick users from rooms; API keys always may."
    )
    text_length: int = Field(4_000, ge=1, le=10_000, description="The most characters of a message.")
    page_size: int = Field(
        50, ge=1, le=500, description="Messages or rooms in an answer when the request names no limit."
    )
    page_limit: int = Field(
        200, ge=1, le=500, description="The most messages or rooms in an answer, whatever limit is named."
    )
