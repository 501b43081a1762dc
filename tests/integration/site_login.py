"""A site that the hub's users have signed in to: its session cookie, and the connect handler that knows it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

from hub.plugin import Accept, ClientRequest, Context, Disconnect, Identity

KEY = b"the-key-with-which-the-site-signs-its-sessions"
seen: list[ClientRequest | None] = []
"""What the handler was asked with, the newest last."""
gone: list[str] = []
"""Users whose sessions ended."""


def signed(**session: Any) -> str:
    """The value of a session cookie, in the form that Starlette and Django give it: data, and a signature behind."""
    data = base64.b64encode(json.dumps(session).encode())
    return f"{data.decode()}.{hmac.new(KEY, data, hashlib.sha256).hexdigest()}"


async def connect(ctx: Context[None]) -> Accept | None:
    """Says who a client is by its cookie; whoever has a token or no cookie is none of its business."""
    seen.append(ctx.request)
    if ctx.user or ctx.request is None:
        return None
    data, _, signature = ctx.request.cookies.get("session", "").rpartition(".")
    if not hmac.compare_digest(hmac.new(KEY, data.encode(), hashlib.sha256).hexdigest(), signature):
        return None
    session = json.loads(base64.b64decode(data))
    if session.get("fails"):
        raise RuntimeError("the site's database is away")
    if session.get("banned"):
        raise Disconnect(4_501, "banned")
    return Accept(
        identity=Identity(
            user=session["user"],
            info=json.dumps({"name": session["user"].title()}, indent=1).encode(),
            expires_at=session.get("ends"),
            claims={"jti": session.get("id", ""), "role": session.get("role", "")},
        )
    )


async def whoami(ctx: Context[None]) -> Accept:
    """Runs behind the other, and tells what has become of the client."""
    return Accept(data={"user": ctx.user, "jti": ctx.identity.claims.get("jti")})


async def disconnect(ctx: Context[None]) -> None:
    """Keeps whose session has ended."""
    gone.append(ctx.user)
