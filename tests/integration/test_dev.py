"""`hub dev` as a process: what it says, what it leaves behind, and how it starts anew."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import stat
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import psutil
import pytest

from tests.services.hub import HubProcess, run_hub

pytestmark = pytest.mark.timeout(120)

MANIFEST = """
name: greeter
api: 1
topics:
  "greet:{who}":
    allow: {subscribe: anyone, publish: anyone}
    history: {size: 10, ttl: 1h}
    handlers: {publish: "handlers:reply"}
"""
HANDLERS = """
async def reply(ctx, pub):
    return pub.replace(data="hello " + ctx.params["who"])
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "hub.yaml").write_text("version: 1\nplugins: {greeter: {use: ./greeter}}\n")
    (tmp_path / "greeter").mkdir()
    (tmp_path / "greeter/plugin.yaml").write_text(MANIFEST)
    (tmp_path / "greeter/handlers.py").write_text(HANDLERS)
    return tmp_path


def greeting(url: str) -> str:
    """What the plugin makes of a publication."""
    with httpx2.Client(trust_env=False) as client:
        assert client.post(f"{url}/api/topics/greet:ann", content="x").status_code == 200
        publications = client.get(f"{url}/api/topics/greet:ann").json()["publications"]
    return str(publications[-1]["data"])


class TestBanner:
    def test_an_empty_folder_is_enough_and_only_dot_hub_is_added(self, tmp_path: Path) -> None:
        with HubProcess("dev", "--port", "0", cwd=tmp_path) as hub:
            url = hub.url()
            said = hub.said
            assert "development mode: never expose this" in said
            for plugin in ("chat", "dashboards", "notifications"):
                assert plugin in said
            assert httpx2.get(f"{url}/health/ready", trust_env=False).status_code == 200
            page = httpx2.get(f"{url}/", trust_env=False)
            assert page.status_code == 200
            assert "<html" in page.text
            assert {path.name for path in tmp_path.iterdir()} == {
                ".hub",
                hub.out.name,
                hub.out.with_suffix(".err").name,
            }
            assert stat.S_IMODE((tmp_path / ".hub/secret").stat().st_mode) == 0o600
            assert hub.stop(signal.SIGINT) == 0
            assert "Traceback" not in hub.said

    def test_its_addresses_token_and_lines_to_try_work_as_they_stand(self, folder: Path) -> None:
        with HubProcess("dev", "--port", "0", cwd=folder) as hub:
            url = hub.url()
            said = hub.said
            assert f"ws://127.0.0.1:{urlsplit(url).port}/connection/websocket" in said
            assert "Config        hub.yaml" in said
            token = re.search(r"Token +(\S+)", said)
            assert token is not None
            checked = run_hub("token", "check", token.group(1), cwd=folder)
            assert checked.returncode == 0
            assert "dev   (the user)" in checked.stdout
            curl, publish = re.findall(r"(?:curl|hub publish).*", said)
            assert shlex.split(curl)[-1] == f"{url}/api/topics/lobby"
            done = run_hub(*shlex.split(publish)[1:], cwd=folder)
            assert done.returncode == 0, done.stderr
            assert done.stdout.startswith("offset 1, ")

    def test_a_port_in_use_is_told(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            done = run_hub("dev", "--port", str(taken.getsockname()[1]), cwd=folder)
        assert done.returncode == 1
        assert f"pid {os.getpid()}" in done.stderr
        assert "--port" in done.stderr
        assert "E220" in done.stderr

    def test_mistakes_at_the_first_start_end_it_with_status_3(self, folder: Path) -> None:
        (folder / "hub.yaml").write_text("version: 1\nplugin: {}\nserver: {prot: 1}\n")
        done = run_hub("dev", cwd=folder)
        assert done.returncode == 3
        assert "hub.yaml:2:1" in done.stderr
        assert "server.prot" in done.stderr


class TestStartingAnew:
    def test_a_changed_handler_is_in_force_on_the_same_port(self, folder: Path) -> None:
        with HubProcess("dev", "--port", "0", cwd=folder) as hub:
            url = hub.url()
            assert greeting(url) == "hello ann"
            (folder / "greeter/handlers.py").write_text(HANDLERS.replace("hello", "good day"))
            hub.wait_until_said("Serving again")
            assert greeting(url) == "good day ann"
            assert psutil.Process(hub.process.pid).children() == []
            assert hub.stop() == 0

    def test_mistakes_are_told_and_leave_the_running_hub_as_it_was(self, folder: Path) -> None:
        with HubProcess("dev", "--port", "0", cwd=folder) as hub:
            url = hub.url()
            (folder / "greeter/handlers.py").write_text("def reply(:\n")
            hub.wait_until_said("stays as it was")
            assert "handlers.py:1: SyntaxError" in hub.said
            assert greeting(url) == "hello ann"
            (folder / "hub.yaml").write_text("version: 1\nplugins: {greeter: {use: ./greter}}\n")
            hub.wait_until_said("stays as it was", times=2)
            assert "hub.yaml:2" in hub.said
            assert greeting(url) == "hello ann"
            (folder / "hub.yaml").write_text("version: 1\nplugins: {greeter: {use: ./greeter}}\n")
            (folder / "greeter/handlers.py").write_text(HANDLERS.replace("hello", "at last"))
            hub.wait_until_said("Serving again")
            assert greeting(url) == "at last ann"

    def test_a_start_that_fails_waits_for_the_next_change(self, folder: Path) -> None:
        (folder / "doorman.py").write_text("async def start(ctx):\n    pass\n")
        handlers = "handlers: {start: 'doorman:start'}\n"
        with (folder / "hub.yaml").open("a") as file:
            file.write(handlers)
        with HubProcess("dev", "--port", "0", cwd=folder) as hub:
            url = hub.url()
            (folder / "doorman.py").write_text(
                "from hub.plugin import ReplyError\n\nasync def start(ctx):\n    raise ReplyError(400, 'not today')\n"
            )
            hub.wait_until_said("waits for the next change")
            assert "not today" in hub.said
            (folder / "doorman.py").write_text("async def start(ctx):\n    return None\n")
            hub.wait_until_said("Serving again")
            assert greeting(url) == "hello ann"

    def test_a_changed_port_of_the_file_is_taken(self, folder: Path) -> None:
        with HubProcess("dev", cwd=folder, env={"HUB_SERVER__PORT": "0"}) as hub:
            first = hub.url()
            with (folder / "hub.yaml").open("a") as file:
                file.write("server: {host: localhost}\n")
            again = hub.wait_until_said(r"Serving again on (http://localhost:\d+)/").group(1)
            assert again.rpartition(":")[2] != first.rpartition(":")[2]
            assert greeting(again) == "hello ann"

    def test_without_reload_nothing_is_watched(self, folder: Path) -> None:
        with HubProcess("dev", "--port", "0", "--no-reload", cwd=folder) as hub:
            url = hub.url()
            (folder / "greeter/handlers.py").write_text(HANDLERS.replace("hello", "good day"))
            with pytest.raises(AssertionError):
                hub.wait_until_said("has changed", within=1)
            assert greeting(url) == "hello ann"

    def test_a_file_called_hub_py_beside_the_configuration_is_no_obstacle(self, folder: Path) -> None:
        (folder / "hub.py").write_text("raise RuntimeError('not the hub')\n")
        with HubProcess("dev", "--port", "0", cwd=folder) as hub:
            hub.url()
            (folder / "greeter/handlers.py").write_text(HANDLERS.replace("hello", "good day"))
            hub.wait_until_said("Serving again")
