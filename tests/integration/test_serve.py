"""`hub serve` as a process: how it starts, what it refuses, and how it stops."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import psutil
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.services.hub import API_KEY, CONFIG, HubProcess, command, environ, run_hub
from tests.services.ports import free_port
from tests.services.redis import RedisServer

pytestmark = pytest.mark.timeout(120)

MIGRATION = """
import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table("notes_note", sa.Column("id", sa.Integer, primary_key=True))
"""

SECOND_MIGRATION = """
import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("notes_note", sa.Column("text", sa.Text(), nullable=True))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    configure(tmp_path)
    return tmp_path


def configure(folder: Path, more: str = "", **server: object) -> None:
    """Writes hub.yaml: what all tests share, with further lines, and settings of `server` set."""
    lines = "".join(f", {key}: {json.dumps(value)}" for key, value in server.items())
    (folder / "hub.yaml").write_text(CONFIG.replace("drain: 1s", f"drain: 1s{lines}") + more)


def add_notes(folder: Path) -> None:
    """Switches on a plugin with one migration."""
    migrations = folder / "notes/migrations"
    migrations.mkdir(parents=True)
    (folder / "notes/plugin.yaml").write_text("name: notes\napi: 1\nmigrations: migrations\n")
    (migrations / "m0001_notes.py").write_text(MIGRATION)
    configure(folder, "plugins: {notes: {use: ./notes}}\n")


def outgrow_notes(folder: Path) -> None:
    """Migrates the plugin's tables, then gives it a second migration."""
    assert run_hub("migrate", cwd=folder).stdout == "hub 0001\nnotes 0001\n"
    (folder / "notes/migrations/m0002_text.py").write_text(SECOND_MIGRATION)


def ready(url: str) -> int:
    """The status of the readiness probe."""
    return httpx2.get(f"{url}/health/ready", trust_env=False).status_code


def wait_until_alive(url: str) -> None:
    """Waits until the liveness probe answers."""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx2.TransportError):
            if httpx2.get(f"{url}/health/live", trust_env=False).status_code == 200:
                return
        time.sleep(0.05)
    raise AssertionError(f"nobody lives at {url}")


@contextlib.asynccontextmanager
async def clients(url: str, number: int) -> AsyncIterator[list[ClientConnection]]:
    """So many sessions of the client protocol."""
    address = f"{url.replace('http', 'ws', 1)}/connection/websocket"
    async with contextlib.AsyncExitStack() as stack:
        found = [await stack.enter_async_context(connect(address, proxy=None)) for _ in range(number)]
        for each in found:
            await each.send('{"id": 1, "connect": {}}')
        for each in found:
            assert "connect" in json.loads(await each.recv())
        yield found


async def end_of(client: ClientConnection) -> tuple[int, float]:
    """The code of the close, and when it came."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            await client.recv()
    assert client.close_code is not None
    return client.close_code, time.monotonic()


class TestStarting:
    def test_port_0_takes_a_free_port_and_says_which(self, folder: Path) -> None:
        with HubProcess("serve", cwd=folder) as hub:
            url = hub.url()
            assert urlsplit(url).port != 0
            assert ready(url) == 200
            assert hub.stop() == 0
            assert "Traceback" not in hub.said
            assert hub.printed == ""

    def test_host_and_port_of_the_command_line_go_before_those_of_the_file(self, folder: Path) -> None:
        port = free_port()
        with HubProcess("serve", "--host", "localhost", "--port", str(port), cwd=folder) as hub:
            assert hub.url() == f"http://localhost:{port}"
            assert ready(f"http://127.0.0.1:{port}") == 200

    def test_answers_tell_neither_server_nor_date(self, folder: Path) -> None:
        with HubProcess("serve", cwd=folder) as hub:
            headers = httpx2.get(f"{hub.url()}/health/live", trust_env=False).headers
            assert "server" not in headers
            assert "date" not in headers

    def test_the_internal_port_has_what_the_public_one_must_not(self, folder: Path) -> None:
        configure(folder, internal={"port": 0})
        with HubProcess("serve", cwd=folder) as hub:
            url = hub.url()
            internal = hub.wait_until_said(r"internal (http://127\.0\.0\.1:\d+)").group(1)
            key = {"X-API-Key": API_KEY}
            with httpx2.Client(trust_env=False) as client:
                assert "hub_connections" in client.get(f"{internal}/metrics").text
                assert client.get(f"{url}/metrics").status_code == 404
                assert client.post(f"{internal}/api/info", json={}, headers=key).status_code == 200
                assert client.post(f"{url}/api/info", json={}, headers=key).status_code == 404
                assert client.get(f"{internal}/health/ready").status_code == 200
            assert hub.stop() == 0

    def test_as_many_files_may_be_open_as_the_system_allows(self, folder: Path) -> None:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        limited = f'ulimit -Sn 256; exec "{command()[0]}" serve'
        with subprocess.Popen(
            ["bash", "-c", limited], cwd=folder, env=environ(), stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stderr is not None
            for line in process.stderr:
                if "serves http" in line:
                    break
            raised = psutil.Process(process.pid).rlimit(psutil.RLIMIT_NOFILE)
            process.terminate()
            assert process.wait(10) == 0
        assert raised == (hard, hard)

    def test_tokens_in_addresses_do_not_reach_the_log(self, folder: Path) -> None:
        configure(folder, "log: {level: debug}\n")
        with HubProcess("serve", cwd=folder) as hub:
            url = hub.url()
            httpx2.get(f"{url}/api/topics/open:a?token=very.secret.token", trust_env=False)

            async def visit() -> None:
                async with connect(
                    f"{url.replace('http', 'ws')}/ws/open:a?token=very.secret.token", proxy=None
                ) as ws:
                    await end_of(ws)

            asyncio.run(visit())
            hub.stop()
            assert "very.secret" not in hub.said


class TestRefusing:
    def test_without_a_configuration_it_says_what_to_do(self, tmp_path: Path) -> None:
        done = run_hub("serve", cwd=tmp_path)
        assert done.returncode == 2
        assert "hub config > hub.yaml" in done.stderr

    def test_a_file_that_is_missing_is_named(self, tmp_path: Path) -> None:
        done = run_hub("serve", "--config", "other.yaml", cwd=tmp_path)
        assert done.returncode == 3
        assert "other.yaml" in done.stderr
        assert "E108" in done.stderr

    def test_it_refuses_with_the_words_of_check(self, folder: Path) -> None:
        configure(folder, "sockets: {/ws/a: {topic: 'none:a'}}\nserver2: {}\n")
        checked, served = run_hub("check", cwd=folder), run_hub("serve", cwd=folder)
        assert checked.stderr == served.stderr
        assert checked.returncode == served.returncode == 3
        assert served.stderr.endswith("2 problems found.\n")

    def test_a_port_in_use_is_named_with_who_uses_it_and_the_way_out(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            done = run_hub("serve", "--port", str(port), cwd=folder)
        assert done.returncode == 1
        assert f"port {port} is in use by pid {os.getpid()}" in done.stderr
        assert "--port" in done.stderr
        assert "E220" in done.stderr
        assert "Traceback" not in done.stderr

    def test_an_address_of_another_machine_is_named(self, folder: Path) -> None:
        done = run_hub("serve", "--host", "192.0.2.1", cwd=folder)
        assert done.returncode == 1
        assert "192.0.2.1" in done.stderr
        assert "E220" in done.stderr

    def test_a_database_that_is_behind_is_refused_until_it_is_migrated(self, folder: Path) -> None:
        add_notes(folder)
        outgrow_notes(folder)
        done = run_hub("serve", cwd=folder)
        assert done.returncode == 1
        assert "notes is at 0001 and needs 0002" in done.stderr
        assert "hub migrate" in done.stderr
        assert "E301" in done.stderr
        assert "Traceback" not in done.stderr
        assert run_hub("migrate", cwd=folder).stdout == "notes 0002\n"
        with HubProcess("serve", cwd=folder) as hub:
            assert ready(hub.url()) == 200

    def test_migrate_on_the_command_line_brings_the_database_up_to_date(self, folder: Path) -> None:
        add_notes(folder)
        outgrow_notes(folder)
        with HubProcess("serve", "--migrate", cwd=folder) as hub:
            assert ready(hub.url()) == 200
        assert run_hub("migrate", "--check", cwd=folder).returncode == 0

    def test_a_start_handler_that_refuses_ends_it_with_status_1(self, folder: Path) -> None:
        (folder / "doorman.py").write_text(
            "from hub.plugin import ReplyError\n\nasync def start(ctx):\n    raise ReplyError(400, 'not today')\n"
        )
        configure(folder, "handlers: {start: 'doorman:start'}\n")
        done = run_hub("serve", cwd=folder)
        assert done.returncode == 1
        assert "not today" in done.stderr
        assert "Traceback" not in done.stderr


class TestStopping:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_clients_are_sent_away_with_a_code_to_come_back_and_the_status_is_0(
        self, folder: Path, number: signal.Signals
    ) -> None:
        with HubProcess("serve", cwd=folder) as hub:
            url = hub.url()

            async def story() -> int:
                async with clients(url, 1) as (ann,):
                    hub.process.send_signal(number)
                    return (await end_of(ann))[0]

            assert asyncio.run(story()) == 3001
            assert hub.wait() == 0
            assert "Traceback" not in hub.said

    def test_a_crowd_is_sent_away_in_waves_while_the_node_says_that_it_is_not_ready(
        self, folder: Path
    ) -> None:
        with HubProcess("serve", cwd=folder) as hub:
            url = hub.url()

            async def story() -> tuple[list[tuple[int, float]], int]:
                async with clients(url, 120) as crowd, httpx2.AsyncClient(trust_env=False) as probe:
                    hub.process.terminate()
                    ends = asyncio.gather(*map(end_of, crowd))
                    await asyncio.sleep(0.3)
                    status = (await probe.get(f"{url}/health/ready")).status_code
                    return await ends, status

            ends, status = asyncio.run(story())
            assert status == 503
            assert {code for code, _ in ends} == {3001}
            moments = [moment for _, moment in ends]
            assert 0.5 < max(moments) - min(moments) < 3
            assert hub.wait() == 0

    def test_a_second_signal_cuts_it_short(self, folder: Path) -> None:
        (folder / "hub.yaml").write_text(CONFIG.replace("drain: 1s", "drain: 60s"))
        with HubProcess("serve", cwd=folder) as hub:
            url = hub.url()

            async def story() -> list[tuple[int, float]]:
                async with clients(url, 120) as crowd:
                    ends = asyncio.gather(*map(end_of, crowd))
                    hub.process.terminate()
                    await asyncio.sleep(0.5)
                    hub.process.terminate()
                    return await ends

            ends = asyncio.run(story())
            assert {code for code, _ in ends} == {3001}
            assert hub.wait(within=5) == 143

    def test_a_client_that_reads_nothing_does_not_keep_it(self, folder: Path) -> None:
        with HubProcess("serve", cwd=folder) as hub:
            url = hub.url()
            port = urlsplit(url).port
            assert port is not None
            with socket.socket() as deaf:
                deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
                deaf.connect(("127.0.0.1", port))
                deaf.sendall(
                    f"GET /ws/open:flood HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
                    "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
                )
                assert b"101" in deaf.recv(64)
                with httpx2.Client(trust_env=False) as client:
                    for _ in range(8):
                        client.post(f"{url}/api/topics/open:flood", content="x" * 100_000)
                began = time.monotonic()
                assert hub.stop() == 0
                assert time.monotonic() - began < 10
            assert "Traceback" not in hub.said

    def test_a_request_under_way_is_answered(self, folder: Path) -> None:
        (folder / "slow.py").write_text(
            "import asyncio\n\nasync def wait(ctx, pub):\n    await asyncio.sleep(1)\n    return pub\n"
        )
        configure(folder)
        text = (folder / "hub.yaml").read_text()
        rule = '  "slow:{name}": {allow: {publish: anyone}, handlers: {publish: "slow:wait"}}\n'
        (folder / "hub.yaml").write_text(text + rule)
        with HubProcess("serve", cwd=folder) as hub:
            url = hub.url()

            async def story() -> int:
                async with httpx2.AsyncClient(trust_env=False) as client:
                    asked = asyncio.create_task(client.post(f"{url}/api/topics/slow:a", content="hi"))
                    await asyncio.sleep(0.3)
                    hub.process.terminate()
                    return (await asked).status_code

            assert asyncio.run(story()) == 200
            assert hub.wait() == 0

    def test_it_can_be_stopped_while_it_starts(self, folder: Path) -> None:
        (folder / "slow.py").write_text(
            "import asyncio\n\nasync def start(ctx):\n    await asyncio.sleep(60)\n"
        )
        port = free_port()
        configure(folder, "handlers: {start: 'slow:start'}\n", internal={"port": port})
        with HubProcess("serve", cwd=folder) as hub:
            wait_until_alive(f"http://127.0.0.1:{port}")
            assert hub.stop(within=20) == 0
            assert "Traceback" not in hub.said
            assert "serves" not in hub.said


class TestWorkers:
    @pytest.fixture
    def linked(self, folder: Path, redis_server: RedisServer) -> Path:
        internal = {"port": 0}
        configure(folder, f'broker: {{url: "{redis_server.url}"}}\n', workers=2, internal=internal)
        return folder

    def test_all_serve_the_public_port_and_the_internal_one(self, linked: Path) -> None:
        with HubProcess("serve", cwd=linked) as hub:
            url = hub.url()
            internal = hub.wait_until_said(r"internal (http://127\.0\.0\.1:\d+); 2 workers").group(1)
            with httpx2.Client(trust_env=False) as client:
                assert client.get(f"{internal}/health/ready").status_code == 200
                for number in range(1, 11):
                    answer = client.post(f"{url}/api/topics/open:a", content=str(number))
                    assert answer.json()["offset"] == number
            workers = psutil.Process(hub.process.pid).children()
            assert len(workers) == 2
            assert hub.stop() == 0
            assert not any(worker.is_running() for worker in workers)

    def test_one_that_dies_is_replaced(self, linked: Path) -> None:
        with HubProcess("serve", cwd=linked) as hub:
            url = hub.url()
            parent = psutil.Process(hub.process.pid)
            victim = parent.children()[0]
            victim.kill()
            hub.wait_until_said(f"worker {victim.pid} ended with -9")
            deadline = time.monotonic() + 15
            while victim in parent.children() or len(parent.children()) < 2:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            assert ready(url) == 200
            assert hub.stop() == 0

    def test_none_outlives_a_killed_parent(self, linked: Path) -> None:
        with HubProcess("serve", cwd=linked) as hub:
            hub.url()
            workers = psutil.Process(hub.process.pid).children()
            hub.process.kill()
            _gone, alive = psutil.wait_procs(workers, timeout=10)
            assert not [each for each in alive if each.status() != psutil.STATUS_ZOMBIE]

    def test_they_can_be_stopped_while_they_start(self, linked: Path) -> None:
        with HubProcess("serve", cwd=linked) as hub:
            deadline = time.monotonic() + 15
            while not (workers := psutil.Process(hub.process.pid).children()):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            assert hub.stop() == 0
            assert not any(worker.is_running() for worker in workers)
            assert "Traceback" not in hub.said

    def test_one_that_cannot_start_ends_them_all_with_its_status(self, linked: Path) -> None:
        (linked / "doorman.py").write_text(
            "from hub.plugin import ReplyError\n\nasync def start(ctx):\n    raise ReplyError(400, 'not today')\n"
        )
        with (linked / "hub.yaml").open("a") as file:
            file.write("handlers: {start: 'doorman:start'}\n")
        done = run_hub("serve", cwd=linked)
        assert done.returncode == 1
        assert "not today" in done.stderr

    def test_the_memory_broker_refuses_several(self, folder: Path) -> None:
        done = run_hub("serve", "--workers", "2", cwd=folder)
        assert done.returncode == 3
        assert "E150" in done.stderr


def test_migrators_started_at_once_do_the_work_once(folder: Path) -> None:
    add_notes(folder)
    running = [
        subprocess.Popen(
            command("migrate"),
            cwd=folder,
            env=environ(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    printed = [process.communicate(timeout=100)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0, 0]
    assert sorted(printed) == ["", "", "hub 0001\nnotes 0001\n"]
