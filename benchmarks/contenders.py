"""Who is measured: how each server is started, and what the load generator says to it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

SECRET: Final = "a-secret-for-benchmarks-0123456789abcdef"  # noqa: S105 (signs tokens of benchmarks only)
RAW: Final = ("-proto", "raw", "-url", "ws://127.0.0.1:{port}/ws/{{topic}}")
CLIENT: Final = (
    *("-proto", "centrifugo", "-url", "ws://127.0.0.1:{port}/connection/websocket"),
    *("-jwt-secret", SECRET),
)
SOCKETIO: Final = (
    *("-proto", "socketio"),
    *("-url", "ws://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket"),
)
HUB: Final = ("{hub}", "-m", "hub", "serve", "--migrate", "-c", "{here}/hub.yaml", "--port", "{port}")


@dataclass(frozen=True, slots=True)
class Contender:
    """One server. `{hub}`, `{python}`, `{node}`, `{centrifugo}`, `{here}`, `{port}` and `{redis}` are filled in."""

    name: str
    title: str
    command: tuple[str, ...]
    talk: tuple[str, ...] = RAW
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def needs_redis(self) -> bool:
        """Whether a Redis has to be started for it."""
        return "{redis}" in self.command

    def needs(self, tool: str) -> bool:
        """Whether it is run by this tool: `hub`, `python`, `node` or `centrifugo`."""
        return self.command[0] == f"{{{tool}}}"


def _python(name: str, title: str, file: str, *more: str, talk: tuple[str, ...] = RAW) -> Contender:
    return Contender(name, title, ("{python}", f"{{here}}/rivals/{file}", "{port}", *more), talk)


ALL: Final = (
    Contender("hub", "hub, plain socket", HUB),
    Contender("hub-client", "hub, client protocol", HUB, CLIENT),
    _python("article", "article's ConnectionManager", "connection_manager.py"),
    _python("broadcaster", "broadcaster's example", "broadcaster_example.py"),
    _python("socketio", "python-socketio", "socketio_server.py", talk=SOCKETIO),
    _python("channels", "Channels, layer in memory", "channels_server.py"),
    _python("channels-redis", "Channels, layer on Redis", "channels_server.py", "{redis}"),
    Contender("ws", "Node ws", ("{node}", "{here}/rivals/ws_server.cjs", "{port}")),
    Contender(
        "centrifugo",
        "Centrifugo, one thread",
        (
            *("{centrifugo}", "--config", "{here}/rivals/centrifugo.json"),
            *("--http_server.address", "127.0.0.1", "--http_server.port", "{port}"),
        ),
        CLIENT,
        {"GOMAXPROCS": "1"},
    ),
)


def chosen(names: Iterable[str]) -> tuple[Contender, ...]:
    """Returns the contenders of these names in the order of the tables; all without names.

    Raises ValueError for a name that nobody has.
    """
    wanted = set(names)
    if unknown := wanted - {each.name for each in ALL}:
        raise ValueError(
            f"no contender {', '.join(sorted(unknown))}; there are {', '.join(each.name for each in ALL)}"
        )
    return tuple(each for each in ALL if not wanted or each.name in wanted)
