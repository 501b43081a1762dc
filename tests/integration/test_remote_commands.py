"""`hub publish` and `hub subscribe` against a running hub, and against none."""

from __future__ import annotations

import json
import re
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.hub import API_KEY, CONFIG, HubProcess, run_hub
from tests.services.ports import free_port

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("hub")
    (made / "hub.yaml").write_text(CONFIG)
    return made


@pytest.fixture(scope="module")
def hub(folder: Path) -> Iterator[HubProcess]:
    """A hub for all tests of the module; each has topics of its own."""
    with HubProcess("serve", cwd=folder) as process:
        yield process


def token(folder: Path, user: str) -> str:
    """A token of the hub in this folder."""
    return run_hub("token", "create", "--sub", user, cwd=folder).stdout.splitlines()[-1]


class TestPublish:
    def test_json_text_files_and_standard_input_are_published_as_they_stand(
        self, hub: HubProcess, tmp_path: Path
    ) -> None:
        where = {"HUB_URL": hub.url()}
        (tmp_path / "data.json").write_text('{"from": "file"}')
        for number, (data, stdin) in enumerate(
            [
                ('{"a": 1}', None),
                ("plain text", None),
                ("-", "[1, 2]"),
                (None, "piped"),
                ("@data.json", None),
            ],
            1,
        ):
            line = ["publish", "open:a", *([data] if data is not None else [])]
            done = run_hub(*line, cwd=tmp_path, stdin=stdin, env=where)
            assert done.returncode == 0, done.stderr
            assert done.stdout.startswith(f"offset {number}, epoch ")
        with HubProcess("subscribe", "open:a", "--since", "0", "--json", cwd=tmp_path, env=where) as listener:
            listener.wait_until_printed(r"\n", times=5)
            kept = [json.loads(line)["data"] for line in listener.printed.splitlines()]
        assert kept == [{"a": 1}, "plain text", [1, 2], "piped", {"from": "file"}]

    def test_the_answer_can_be_had_as_json(self, hub: HubProcess, tmp_path: Path) -> None:
        done = run_hub("publish", "open:b", "1", "--json", "--url", hub.url(), cwd=tmp_path)
        answer = json.loads(done.stdout)
        assert (answer["topic"], answer["offset"]) == ("open:b", 1)
        assert answer["epoch"]

    def test_a_topic_without_history_gives_no_position(self, hub: HubProcess, tmp_path: Path) -> None:
        done = run_hub("publish", "brief:a", "1", "--url", hub.url(), cwd=tmp_path)
        assert (done.returncode, done.stdout) == (0, "")
        assert "no history" in done.stderr

    def test_the_same_idempotency_key_publishes_once(self, hub: HubProcess, tmp_path: Path) -> None:
        line = ["publish", "open:c", "1", "--idempotency-key", "k", "--url", hub.url()]
        first, second = run_hub(*line, cwd=tmp_path), run_hub(*line, cwd=tmp_path)
        assert first.stdout == second.stdout != ""

    def test_who_gets_no_answer_is_told_the_key_that_makes_a_retry_safe(
        self, hub: HubProcess, tmp_path: Path
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:

            def hang_up() -> None:
                connection, _ = silent.accept()
                connection.recv(65_536)
                connection.close()

            threading.Thread(target=hang_up, daemon=True).start()
            url = f"http://127.0.0.1:{silent.getsockname()[1]}"
            done = run_hub("publish", "open:k", "1", "--url", url, cwd=tmp_path)
        assert done.returncode == 5
        found = re.search(r"--idempotency-key (\w+)", done.stderr)
        assert found is not None, done.stderr
        line = ["publish", "open:k", "1", "--idempotency-key", found[1], "--url", hub.url()]
        assert run_hub(*line, cwd=tmp_path).returncode == 0

    def test_keys_and_tokens_open_what_is_closed(self, hub: HubProcess, folder: Path, tmp_path: Path) -> None:
        line = ["publish", "closed:a", "1", "--url", hub.url()]
        refused = run_hub(*line, cwd=tmp_path)
        assert refused.returncode == 1
        assert "--api-key or --token" in refused.stderr
        assert run_hub(*line, "--api-key", API_KEY, cwd=tmp_path).returncode == 0
        assert run_hub(*line, cwd=tmp_path, env={"HUB_API_KEY": API_KEY}).returncode == 0
        assert run_hub(*line, "--token", token(folder, "ann"), cwd=tmp_path).returncode == 0
        wrong = run_hub(*line, "--api-key", "wrong", cwd=tmp_path)
        assert wrong.returncode == 1
        assert "no such API key" in wrong.stderr

    def test_a_topic_that_nothing_declares_is_refused_in_words(self, hub: HubProcess, tmp_path: Path) -> None:
        line = ["publish", "nowhere:a", "1", "--url", hub.url()]
        done = run_hub(*line, "--api-key", API_KEY, cwd=tmp_path)
        assert done.returncode == 1
        assert "matches the topic" in done.stderr
        anybody = run_hub(*line, cwd=tmp_path)
        assert anybody.returncode == 1
        assert "--api-key or --token" in anybody.stderr


class TestSubscribe:
    def test_each_publication_is_a_line_at_once(self, hub: HubProcess, tmp_path: Path) -> None:
        where = {"HUB_URL": hub.url()}
        with HubProcess("subscribe", "open:d", "brief:d", cwd=tmp_path, env=where) as listener:
            listener.wait_until_said("listening", times=2)
            run_hub("publish", "open:d", '{"a": 1}', cwd=tmp_path, env=where)
            listener.wait_until_printed(r'open:d \{"a": ?1\}\n')
            run_hub("publish", "brief:d", "two words", cwd=tmp_path, env=where)
            listener.wait_until_printed("brief:d two words\n")
            assert listener.stop(signal.SIGINT) == 130
            assert "Traceback" not in listener.said

    def test_with_json_a_line_has_topic_data_and_position(self, hub: HubProcess, tmp_path: Path) -> None:
        where = {"HUB_URL": hub.url()}
        with HubProcess("subscribe", "open:e", "--json", cwd=tmp_path, env=where) as listener:
            listener.wait_until_said("listening")
            done = run_hub("publish", "open:e", '"two words"', "--json", cwd=tmp_path, env=where)
            listener.wait_until_printed("\n")
            heard = json.loads(listener.printed)
        position = json.loads(done.stdout)
        assert heard == {**position, "data": "two words"}

    def test_with_one_topic_the_line_is_the_payload(self, hub: HubProcess, tmp_path: Path) -> None:
        where = {"HUB_URL": hub.url()}
        with HubProcess("subscribe", "open:f", cwd=tmp_path, env=where) as listener:
            listener.wait_until_said("listening")
            run_hub("publish", "open:f", "hi", cwd=tmp_path, env=where)
            listener.wait_until_printed("hi\n")
            assert listener.printed == "hi\n"

    def test_a_hub_that_comes_back_is_listened_to_again_and_lost_history_is_told(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / "hub.yaml").write_text(CONFIG)
        port = str(free_port())
        where = {"HUB_URL": f"http://127.0.0.1:{port}"}
        with HubProcess("serve", "--port", port, cwd=tmp_path) as first:
            first.url()
            listener = HubProcess("subscribe", "open:a", cwd=tmp_path, env=where)
            with listener:
                listener.wait_until_said("listening")
                run_hub("publish", "open:a", "one", cwd=tmp_path, env=where)
                listener.wait_until_printed("one\n")
                assert first.stop() == 0
                listener.wait_until_said("the connection ended")
                with HubProcess("serve", "--port", port, cwd=tmp_path) as second:
                    second.url()
                    listener.wait_until_said("may be lost")
                    run_hub("publish", "open:a", "two", cwd=tmp_path, env=where)
                    listener.wait_until_printed("two\n")
        assert listener.printed == "one\ntwo\n"

    def test_what_is_refused_ends_it_in_words(self, hub: HubProcess, tmp_path: Path) -> None:
        where = {"HUB_URL": hub.url()}
        for line in (["closed:a"], ["nowhere:a"], ["closed:a", "--token", "x.y.z"]):
            done = run_hub("subscribe", *line, cwd=tmp_path, env=where)
            assert done.returncode == 1
            assert done.stderr.startswith("error: the hub refused: ")
            assert "Traceback" not in done.stderr
        assert run_hub("subscribe", "open:a", "--since", "x", cwd=tmp_path, env=where).returncode == 2


@pytest.mark.parametrize("line", [["publish", "a", "b"], ["subscribe", "a", "b"]])
def test_where_no_hub_is_the_status_is_4_with_the_address(line: list[str], tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    done = run_hub(*line, "--url", url, cwd=tmp_path, env={"HTTP_PROXY": "http://127.0.0.1:1"})
    assert done.returncode == 4
    assert url in done.stderr
    assert "HUB_URL" in done.stderr


def test_a_url_that_is_none_is_wrong_usage(tmp_path: Path) -> None:
    assert run_hub("publish", "a", "b", "--url", "localhost:8000", cwd=tmp_path).returncode == 2
