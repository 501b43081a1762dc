"""Who is measured: how each server is started, and what the load generator says to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

SECRET: Final = "a-secret-for-benchmarks-0123456789abcdef"  # noqa: S105 (signs tokens of benchmarks only)
RAW: Final = ("-proto", "raw", "-url", "ws://127.0.0.1:{port}/ws/{topic}")
CLIENT: Final = (
    *("-proto", "centrifugo", "-url", "ws://127.0.0.1:{port}/connection/websocket"),
    *("-jwt-secret", SECRET),
)
SOCKETIO: Final = ("-proto", "socketio", "-url", "ws://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket")
SERVER_API: Final = "http://127.0.0.1:{port}/api"
LOOPS: Final = ("uvloop", "asyncio")
"""Event loops that the hub can be measured on; the first is the one it takes by itself."""
ON_ASYNCIO: Final = ("-c", "import sys; sys.modules['uvloop'] = None; from hub.cli import main; main()")
"""The hub takes asyncio's own loop where uvloop cannot be imported."""
SERVE: Final = ("serve", "--migrate", "-c", "{here}/hub.yaml", "--port", "{port}")


@dataclass(frozen=True, slots=True)
class Contender:
    """One server. `{here}`, `{port}`, `{redis}` and the programs of `benchmarks.tools` are filled in."""

    name: str
    title: str
    command: tuple[str, ...]
    talk: tuple[str, ...] = RAW
    environment: Mapping[str, str] = field(default_factory=dict)
    compressing: Mapping[str, str] | None = None
    """What the environment says for permessage-deflate; None: it has none that could be switched on."""
    api: str = ""
    """Address of the server API, where there is one."""
    base: str = ""
    """The contender of which this is a variant; its own name for one that is none."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "base", self.base or self.name)

    @property
    def needs_redis(self) -> bool:
        """Whether a Redis has to be started for it."""
        return "{redis}" in self.command

    @property
    def program(self) -> str:
        """What runs it, as `benchmarks.tools` calls it: `hub`, `hub@3.13`, `python`, `node`, `floor`, `centrifugo`."""
        return self.command[0].strip("{}")

    def needs(self, program: str) -> bool:
        """Whether it is run by this program."""
        return self.program == program


def _hub(name: str, title: str, talk: tuple[str, ...], api: str = "") -> Contender:
    return Contender(
        name,
        title,
        ("{hub}", "-m", "hub", *SERVE),
        talk,
        compressing={"HUB_SERVER__COMPRESSION": "true"},
        api=api,
    )


def _python(name: str, title: str, file: str, *more: str, talk: tuple[str, ...] = RAW) -> Contender:
    return Contender(name, title, ("{python}", f"{{here}}/rivals/{file}", "{port}", *more), talk)


ALL: Final = (
    _hub("hub", "hub, plain socket", RAW),
    _hub("hub-client", "hub, client protocol", CLIENT, SERVER_API),
    Contender("floor", "floor: `send()` in C", ("{floor}", "{port}")),
    _python("bare", "bare sockets in Python", "bare_server.py"),
    replace(  # uvicorn accepts permessage-deflate from whoever offers it
        _python("article", "article's ConnectionManager", "connection_manager.py"), compressing={}
    ),
    _python("broadcaster", "broadcaster's example", "broadcaster_example.py"),
    _python("socketio", "python-socketio", "socketio_server.py", talk=SOCKETIO),
    _python("channels", "Channels, layer in memory", "channels_server.py"),
    _python("channels-redis", "Channels, layer on Redis", "channels_server.py", "{redis}"),
    Contender(
        "ws",
        "Node ws",
        ("{node}", "{here}/rivals/ws_server.cjs", "{port}"),
        compressing={"PER_MESSAGE_DEFLATE": "true"},
    ),
    Contender(
        "centrifugo",
        "Centrifugo, one thread",
        (
            *("{centrifugo}", "--config", "{here}/rivals/centrifugo.json"),
            *("--http_server.address", "127.0.0.1", "--http_server.port", "{port}"),
        ),
        CLIENT,
        {"GOMAXPROCS": "1"},
        {"CENTRIFUGO_WEBSOCKET_COMPRESSION": "true"},
        SERVER_API,
    ),
)
HUBS: Final = frozenset({"hub", "hub-client"})


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


def with_variants(
    contenders: Sequence[Contender], pythons: Sequence[str], loops: Sequence[str]
) -> tuple[Contender, ...]:
    """Returns the contenders, each hub followed by itself on these Pythons: `hub@3.13`, `hub@3.13+asyncio`.

    With loops each hub is measured on each of them, also on its first Python; without, on the one it takes by itself.
    Raises ValueError for a loop that there is none.
    """
    if unknown := set(loops) - set(LOOPS):
        raise ValueError(f"no loop {', '.join(sorted(unknown))}; there are {', '.join(LOOPS)}")
    return tuple(
        variant
        for each in contenders
        for variant in (_variants(each, pythons, loops or LOOPS[:1]) if each.base in HUBS else [each])
    )


def _variants(hub: Contender, pythons: Sequence[str], loops: Sequence[str]) -> list[Contender]:
    found = []
    for python in ("", *pythons):
        for loop in loops:
            on = replace(
                hub,
                name=hub.name + (f"@{python}" if python else "") + (f"+{loop}" if loop != LOOPS[0] else ""),
                title=", ".join(
                    [
                        hub.title,
                        *([f"Python {python}"] if python else []),
                        *([loop] if len(loops) > 1 else []),
                    ]
                ),
                command=(
                    f"{{hub@{python}}}" if python else "{hub}",
                    *(("-m", "hub") if loop == LOOPS[0] else ON_ASYNCIO),
                    *SERVE,
                ),
            )
            found.append(on)
    return found
