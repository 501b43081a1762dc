"""The chat's REST, under /api/chat."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hub.plugin import context, documented, query, validated
from hub_chat import kicks, messages, rooms
from hub_chat.kicks import Kick
from hub_chat.messages import Draft, MessagePage
from hub_chat.rooms import NewRoom, RoomPage


@documented(query=RoomPage)
async def list_rooms(request: Request) -> Response:
    """The rooms that there are: ?after=&limit=."""
    return JSONResponse(await rooms.page(context(request), query(request)))


@documented(body=NewRoom)
async def create_room(request: Request) -> Response:
    """Creates a room: 201, or 200 when the same user created the same before."""
    room, new = await rooms.create(context(request), validated(NewRoom, await request.body()))
    return JSONResponse(room.shown(), 201 if new else 200)


async def show_room(request: Request) -> Response:
    """One room."""
    ctx, name = context(request), request.path_params["room"]
    await rooms.demand(ctx, "subscribe", name)
    room = await rooms.find(ctx, name)
    if room is None:
        raise rooms.unknown(name)
    return JSONResponse(room.shown())


@documented(query=MessagePage)
async def list_messages(request: Request) -> Response:
    """Stored messages of a room: ?before=&after=&limit=."""
    wanted = validated(MessagePage, query(request))
    return JSONResponse(await messages.page(context(request), request.path_params["room"], wanted))


@documented(body=Draft)
async def send_message(request: Request) -> Response:
    """Publishes in a room, and answers with the message."""
    draft = validated(Draft, await request.body())
    key = request.headers.get("idempotency-key", "")
    message = await messages.send(context(request), request.path_params["room"], draft, key)
    return JSONResponse(message, 201)


@documented(body=Kick)
async def kick_user(request: Request) -> Response:
    """Takes a user out of a room."""
    given = validated(Kick, await request.body())
    await kicks.kick(context(request), request.path_params["room"], given)
    return Response(status_code=204)


async def pardon_user(request: Request) -> Response:
    """Lets a user back in."""
    path = request.path_params
    pardoned = await kicks.pardon(context(request), path["room"], path["user"])
    return JSONResponse({"pardoned": pardoned})


routes = [
    Route("/rooms", list_rooms, methods=["GET"]),
    Route("/rooms", create_room, methods=["POST"]),
    Route("/rooms/{room}", show_room, methods=["GET"]),
    Route("/rooms/{room}/messages", list_messages, methods=["GET"]),
    Route("/rooms/{room}/messages", send_message, methods=["POST"]),
    Route("/rooms/{room}/kicks", kick_user, methods=["POST"]),
    Route("/rooms/{room}/kicks/{user:path}", pardon_user, methods=["DELETE"]),
]
