"""The hub under test: one or two `hub serve` processes, proxies in front of each and between each and its broker."""

from __future__ import annotations

import asyncio
import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from tests.chaos.brokers import Server, running
from tests.chaos.proxy import Proxy
from tests.services.ports import free_port
from tests.services.process import ServerProcess

API_KEY: Final = "a-key-for-chaos-only"
SECRET: Final = "a-secret-for-chaos-only-0123456789abcdef"
QUEUE_BYTES: Final = 262_144
READY_SECONDS: Final = 25.0
_ANYONE: Final = {"subscribe": "anyone"}
TOPICS: Final[dict[str, Any]] = {
    "long:{name}": {"allow": _ANYONE, "history": {"size": 20_000, "ttl": "10m"}},
    "short:{name}": {"allow": _ANYONE, "history": {"size": 20, "ttl": "10m"}},
    "latest:{name}": {"allow": _ANYONE, "history": {"size": 20_000, "ttl": "10m"}, "slow": "conflate:lot"},
    "waits:{name}": {"allow": _ANYONE, "history": {"size": 20_000, "ttl": "10m"}, "publish_wait": "20s"},
    "insists:{name}": {"allow": _ANYONE, "history": {"size": 20_000, "ttl": "10m"}, "publish_wait": "10s"},
    "people:{name}": {"allow": _ANYONE, "presence": True, "join_leave": True},
}


class HubProcess:
    """One node: a process on a port that stays the same, reached by clients through `front`."""

    def __init__(self, name: str, broker_url: str, folder: Path) -> None:
        self.port = free_port()
        self.front = Proxy(self.port)
        self.back: Proxy | None = None
        self.log = folder / f"{name}.log"
        config = folder / f"{name}.yaml"
        config.write_text(json.dumps(_config(broker_url, folder / f"{name}.db")))
        hub = Path(sys.executable).with_name("hub")
        self._process = ServerProcess(
            [hub, "serve", "--migrate", "--config", config, "--port", str(self.port)], self.log
        )

    @property
    def url(self) -> str:
        """Straight to the node, for publishers and questions."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def socket_url(self) -> str:
        """The clients' way, through the proxy."""
        return f"ws://127.0.0.1:{self.front.port}/connection/websocket"

    @property
    def direct_socket_url(self) -> str:
        """The same without the proxy."""
        return f"ws://127.0.0.1:{self.port}/connection/websocket"

    def start(self) -> None:
        """Starts it, also after `kill`; returns when it accepts clients, whatever its broker does."""
        if not self._process.running:
            self._process.start(lambda: self._answers("/health/live"), within=READY_SECONDS)

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()

    def stop(self) -> None:
        """SIGTERM."""
        self._process.stop()

    def freeze(self) -> None:
        """SIGSTOP."""
        self._process.freeze()

    def thaw(self) -> None:
        """SIGCONT."""
        self._process.thaw()

    def ready(self) -> bool:
        """Whether it says so."""
        return self._answers("/health/ready")

    def history(self, topic: str) -> dict[str, Any]:
        """All that the hub keeps of a topic, and where its top is."""
        return self.ask("history", channel=topic, limit=-1)

    def ask(self, method: str, **body: Any) -> dict[str, Any]:
        """The result of a method of the server API. Raises RuntimeError."""
        request = urllib.request.Request(
            f"{self.url}/api/{method}",
            json.dumps(body).encode(),
            {"X-API-Key": API_KEY, "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            told = json.load(answer)
        if "error" in told:
            raise RuntimeError(f"{method} failed: {told['error']}")
        result: dict[str, Any] = told["result"]
        return result

    def _answers(self, path: str) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}{path}", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


class Site:
    """All processes of one broker's runs. `server` is None for the memory broker, which one node has for itself."""

    def __init__(self, broker: str, server: Server | None, nodes: list[HubProcess], folder: Path) -> None:
        self.broker = broker
        self._folder = folder
        self.server = server
        self.nodes = nodes

    @contextmanager
    def another(self, name: str) -> Iterator[HubProcess]:
        """One more node, for a while."""
        with ExitStack() as stack:
            node = _node(name, self.server, self._folder, stack)
            stack.callback(node.kill)
            node.start()
            yield node

    async def heal(self) -> None:
        """Ends every fault and returns once all nodes say that they are ready. Raises RuntimeError."""
        if self.server is not None:
            self.server.thaw()
        for node in self.nodes:
            node.thaw()
            node.front.release()
            if node.back is not None:
                node.back.release()
            await asyncio.to_thread(node.start)
        deadline = time.monotonic() + READY_SECONDS
        for node in self.nodes:
            while not await asyncio.to_thread(node.ready):
                if time.monotonic() > deadline:
                    raise RuntimeError(f"a node is not ready again: {node.log.read_text()[-2000:]}")
                await asyncio.sleep(0.05)


def _config(broker_url: str, database: Path) -> dict[str, Any]:
    return {
        "version": 1,
        "server": {"drain": "1s"},
        "broker": {"url": broker_url},
        "database": {"url": f"sqlite:///{database}"},
        "auth": {"anonymous": True, "jwt": {"secret": SECRET}, "api_keys": {"chaos": {"key": API_KEY}}},
        "client": {
            "ping": "5s",
            "pong_timeout": "4s",
            "recovery_page": 20_000,
            "history_page": 20_000,
            "queue_bytes": QUEUE_BYTES,
        },
        "limits": dict.fromkeys(("commands", "publishes_per_user", "publishes_per_topic", "api_requests")),
        "topics": TOPICS,
    }


@contextmanager
def site(broker: str, folder: Path) -> Iterator[Site]:
    """A running site: two nodes linked by a broker, each over a proxy of its own, or one with the memory broker."""
    with ExitStack() as stack:
        server = stack.enter_context(running(broker, folder))
        nodes = []
        for name in ("one",) if server is None else ("one", "two"):
            nodes.append(_node(name, server, folder, stack))
            stack.callback(nodes[-1].kill)
        with ThreadPoolExecutor() as pool:
            list(pool.map(HubProcess.start, nodes))
        yield Site(broker, server, nodes, folder)


def _node(name: str, server: Server | None, folder: Path, stack: ExitStack) -> HubProcess:
    if server is None or server.port is None:
        node = HubProcess(name, "memory://" if server is None else server.url, folder)
    else:
        back = stack.enter_context(Proxy(server.port))
        node = HubProcess(name, server.url.replace(f":{server.port}", f":{back.port}"), folder)
        node.back = back
    stack.enter_context(node.front)
    return node
