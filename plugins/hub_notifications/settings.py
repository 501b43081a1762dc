"""What `settings` of the notifications plugin may say in hub.yaml."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class NotificationSettings(BaseModel):
    """All have defaults: `notifications: {}` works."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    senders: list[str] = Field(
        default_factory=lambda: ["notifier"],
        description="Roles whose tokens may notify any user; API keys need the scope `notifications` instead.",
    )
    body_length: int = Field(4_000, ge=1, le=10_000, description="The most characters of a body.")
    data_bytes: int = Field(
        4_096, ge=0, le=16_384, description="The largest `data` of a notification, as JSON in UTF-8."
    )
    page_size: int = Field(
        50, ge=1, le=500, description="Notifications in an answer when the request names no limit."
    )
    page_limit: int = Field(
        200, ge=1, le=500, description="The most notifications in an answer, whatever limit is named."
    )
