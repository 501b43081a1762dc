"""The broker and presence over TLS, which a proxy before a real Redis ends."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
import redis

from hub.broker.factory import make_broker
from hub.errors import BrokerError
from hub.model import ClientInfo
from hub.presence.factory import make_presence
from tests.contract.bridged import TOPIC, eventually, running
from tests.services.missing import unavailable
from tests.services.ports import free_port
from tests.services.process import ServerProcess
from tests.services.redis_cluster import REMEDY, find_cluster_program
from tests.services.redis_sentinel import program_or_skip


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass  # either side may go first
    finally:
        writer.close()


@pytest.fixture
async def tls_url(redis_url: str, certificate: Path) -> AsyncIterator[str]:
    to = urlsplit(redis_url)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward = await asyncio.open_connection(to.hostname, to.port or 6379)
        await asyncio.gather(_copy(reader, onward[1]), _copy(onward[0], writer))

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    yield f"rediss://127.0.0.1:{server.sockets[0].getsockname()[1]}{to.path}"
    server.close()


async def test_trusted_server_is_used_like_any_other(tls_url: str, certificate: Path) -> None:
    url = f"{tls_url}?ssl_ca_certs={quote(str(certificate))}"
    async with running(make_broker(url, prefix="test")) as hub:
        await hub.bridge.subscribe(TOPIC)
        await hub.publish(b"x" * 300_000)
        await eventually(lambda: hub.recorder.raws(TOPIC) == [b"x" * 300_000])
        assert await hub.raws() == [b"x" * 300_000]
    presence = make_presence(url, prefix="test", node="n", lease=30)
    await presence.start()
    await presence.add(TOPIC, ClientInfo("ann", "c"))
    assert set(await presence.get(TOPIC)) == {"c"}
    await presence.stop()


async def test_server_with_an_unknown_certificate_is_not_trusted(tls_url: str) -> None:
    async with running(make_broker(tls_url, prefix="test")) as hub:
        assert not hub.broker.connected
        with pytest.raises(BrokerError):
            await hub.publish(b"1")
    presence = make_presence(tls_url, prefix="test", node="n", lease=30)
    await presence.start()
    with pytest.raises(BrokerError):
        await presence.add(TOPIC, ClientInfo("ann", "c"))
    await presence.stop()


@pytest.fixture
def tls_cluster_url(certificate: Path, tmp_path: Path) -> Iterator[str]:
    """A cluster of one node, which speaks TLS only and does not know its own address."""
    program = find_cluster_program()
    if program is None:
        unavailable("Redis Cluster", REMEDY)
    port, bus = free_port(), free_port()
    options = {
        "port": 0,
        "tls-port": port,
        "tls-cert-file": certificate,
        "tls-key-file": certificate,
        "tls-ca-cert-file": certificate,
        "tls-auth-clients": "no",
        "tls-cluster": "yes",
        "cluster-enabled": "yes",
        "cluster-port": bus,
        "dir": tmp_path,
        "save": "",
    }
    command: list[str | Path] = [
        program,
        *(str(part) for name, value in options.items() for part in (f"--{name}", value)),
    ]
    node = ServerProcess(command, tmp_path / "redis.log")
    client = redis.Redis("127.0.0.1", port, ssl=True, ssl_ca_certs=str(certificate))

    def ready() -> bool:
        try:
            facts: bytes = client.execute_command("CLUSTER", "INFO")  # type: ignore[no-untyped-call]
            if b"cluster_slots_assigned:0" in facts:
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)  # type: ignore[no-untyped-call]
        except redis.RedisError:
            return False
        return b"cluster_state:ok" in facts

    node.start(ready)
    try:
        yield f"rediss+cluster://127.0.0.1:{port}"
    finally:
        client.close()
        node.kill()


async def test_cluster_is_spoken_to_over_tls(tls_cluster_url: str, certificate: Path) -> None:
    url = f"{tls_cluster_url}?ssl_ca_certs={quote(str(certificate))}"
    async with running(make_broker(url, prefix="test")) as hub:
        await hub.bridge.subscribe(TOPIC)
        await eventually(lambda: hub.bridge.ready)
        await hub.publish(b"1")
        await eventually(lambda: hub.recorder.raws(TOPIC)[-1:] == [b"1"])
    async with running(make_broker(tls_cluster_url, prefix="test")) as hub:
        assert not hub.bridge.ready
        with pytest.raises(BrokerError, match="certificate verify failed"):
            await hub.publish(b"1")


@pytest.fixture
def tls_sentinel_url(certificate: Path, tmp_path: Path) -> Iterator[str]:
    """A primary and a Sentinel, which speak TLS only."""
    program = program_or_skip()
    primary, sentinel = free_port(), free_port()
    tls = {
        "port": 0,
        "tls-cert-file": certificate,
        "tls-key-file": certificate,
        "tls-ca-cert-file": certificate,
        "tls-auth-clients": "no",
        "tls-cluster": "yes",
        "tls-replication": "yes",
        "dir": tmp_path,
    }
    (tmp_path / "redis.conf").write_text(_lines({**tls, "tls-port": primary, "save": '""'}))
    watched = {**tls, "tls-port": sentinel, "sentinel monitor mymaster": f"127.0.0.1 {primary} 1"}
    (tmp_path / "sentinel.conf").write_text(_lines(watched))
    processes = [
        ServerProcess([program, tmp_path / "redis.conf"], tmp_path / "redis.log"),
        ServerProcess([program, tmp_path / "sentinel.conf", "--sentinel"], tmp_path / "sentinel.log"),
    ]
    try:
        for process, port in zip(processes, (primary, sentinel), strict=True):
            process.start(lambda port=port: _answers(port, certificate))  # type: ignore[misc]
        yield f"rediss+sentinel://127.0.0.1:{sentinel}?sentinel_master_name=mymaster"
    finally:
        for process in processes:
            process.kill()


def _lines(settings: dict[str, object]) -> str:
    return "".join(f"{name} {value}\n" for name, value in settings.items())


def _answers(port: int, certificate: Path) -> bool:
    try:
        with redis.Redis("127.0.0.1", port, ssl=True, ssl_ca_certs=str(certificate)) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


async def test_primary_and_sentinels_are_spoken_to_over_tls(tls_sentinel_url: str, certificate: Path) -> None:
    url = f"{tls_sentinel_url}&ssl_ca_certs={quote(str(certificate))}"
    async with running(make_broker(url, prefix="test")) as hub:
        await hub.bridge.subscribe(TOPIC)
        await hub.publish(b"1")
        await eventually(lambda: hub.recorder.raws(TOPIC) == [b"1"])
        assert await hub.raws() == [b"1"]
    async with running(make_broker(tls_sentinel_url, prefix="test")) as hub:
        with pytest.raises(BrokerError, match="certificate verify failed"):
            await hub.publish(b"1")
