"""Pages as stories: the blocks of a page are carried out from first to last, in an empty folder, as a reader would.

The word behind a block's language says what becomes of it; GitHub shows none of them.

=====================  ==========================================================================================
```bash                is run in the folder, and must end with 0
```bash fails          is run, and must end with another status
```bash serve          is started, and goes on; the story waits until the hub is ready. The next one takes its place
```bash serve unready  is started where it will not become ready; the story waits until it is alive
```bash watch          is started, and goes on beside what follows, which waits for its first word
```bash elsewhere      is not run: it needs another machine, or is what runs this test
```text output         what the block before it prints; `…` stands for anything within a line, and for any lines
```text watched        what the last `watch` prints, sooner or later
```text served         what the last `serve` prints next, sooner or later
```text wire           a socket of the client protocol: `>` is sent, `<` must come back
```text one-way        the same of the one-way protocol
```python              is run as a script
```python name.py      is written to this file, as with any language when the word has a dot
```python part         is read by the compiler only; `python signature` too; `js part` by nobody
```js                  is run under Node with the published client, as an ES module
```js page [address]   is run in Chromium, on the hub's page or the one named; its value is what it prints
```yaml hub.yaml       is written, and `hub check` must find nothing wrong with it
```yaml part           is a part of hub.yaml, and its settings must be right
```json, ```text …     is only read: JSON must be JSON
=====================  ==========================================================================================

What a block exports holds for the blocks behind it, as in one terminal. Addresses of the documents are replaced by
those of the test's own servers: see `Story.placed`.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from hub.settings.load import load
from tests.docs.markdown import ROOT, Block
from tests.services.ports import free_port
from tests.services.process import ServerProcess

BIN = Path(sys.executable).parent
_SECRETS = (
    "HUB_JWT_SECRET=${HUB_JWT_SECRET:-7VbWq2nZ0uXj5rTgKc8sLd3hYf6eMa1p} "
    "HUB_API_KEY=${HUB_API_KEY:-k4vK2mWq8sT1zXyP}"
)
"""A page may show its hub.yaml before it says what to export."""
SECONDS = 60.0
EXPORTS = "exported.sh"

Servers = Mapping[str, Callable[[], str]]
"""What stands for an address of the documents, found when a page needs it."""


class StoryError(AssertionError):
    """A block did not do what the page says; the text names its line."""


@dataclass(slots=True)
class Story:
    """One page on its way: its folder, the ports in place of those that it names, and what it has started."""

    folder: Path
    page: str
    servers: Servers
    node: Callable[[], Path]
    evaluate: Callable[[str, str], str]
    patience: float = 20.0
    """Seconds that what goes on has to say what it shall."""
    ports: dict[str, int] = field(default_factory=dict)
    said: str = ""
    serving: ServerProcess | None = None
    watching: list[ServerProcess] = field(default_factory=list)
    watched: Path | None = None
    served: Path | None = None
    heard: int = 0
    """How much of what is served was said before the last `served`, or before the last file was written."""
    files: int = 0

    def tell(self, blocks: list[Block]) -> None:
        """Carries out all blocks; raises StoryError at the first that fails."""
        self.path(EXPORTS).touch()
        try:
            for block in blocks:
                self._act(block)
        finally:
            for process in [self.serving, *self.watching]:
                if process is not None:
                    process.stop()

    def _act(self, block: Block) -> None:
        text = self.placed(block.text)
        if "." in block.word:
            self._write(block, text)
        elif (act := _ACTS.get((block.language, block.word))) is not None:
            act(self, block, text)
        elif block.language not in _FREE:
            raise self._wrong(
                block, f"nobody knows what to do with ```{block.language} {' '.join(block.words)}"
            )

    # Where things are

    def placed(self, text: str) -> str:
        """The text with the addresses of the test in place of those of the documents."""
        for address, found in self.servers.items():
            if address in text:
                text = text.replace(address, found())
        text = re.sub(r"(?<=[:= ])(8000|8001|8080|9000|9001)\b", lambda found: str(self.port(found[1])), text)
        return text.replace("scripts/run", "hub dev").replace(".venv/bin/", f"{BIN}/")

    def port(self, documented: str) -> int:
        """The free port that stands for one of the documents, the same throughout the page."""
        if documented not in self.ports:
            self.ports[documented] = free_port()
        return self.ports[documented]

    @property
    def url(self) -> str:
        """Where the hub of the story is."""
        return f"http://127.0.0.1:{self.port('8000')}"

    def environ(self) -> dict[str, str]:
        """What the commands of the page find in their environment."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
        return {
            **kept,
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "HUB_SERVER__PORT": str(self.port("8000")),
            "HUB_SERVER__ALLOWED_ORIGINS": f'["http://127.0.0.1:{self.port("8080")}"]',
            "HUB_URL": self.url,
            "PYTHONPATH": str(self.folder),
            "PYTHONUNBUFFERED": "1",
            "NO_COLOR": "1",
        }

    def path(self, name: str) -> Path:
        """A file of the story's folder."""
        found = (self.folder / name).resolve()
        if not found.is_relative_to(self.folder.resolve()):
            raise ValueError(f"{name} lies outside of the folder")
        found.parent.mkdir(parents=True, exist_ok=True)
        return found

    # What becomes of a block

    def _write(self, block: Block, text: str) -> None:
        self.heard = len(self.served.read_text()) if self.served else 0
        self.path(block.word).write_text(text)
        if block.word == "hub.yaml":
            self._run(block, ["bash", "-c", f"{_SECRETS} hub check --config hub.yaml"])
        elif block.language == "python":
            ast.parse(text)

    def _bash(self, block: Block, text: str) -> None:
        script = f"{text}\nexport -p >{EXPORTS}"
        self._run(block, ["bash", "-euo", "pipefail", "-c", script], fails=block.word == "fails")

    def _python(self, block: Block, text: str) -> None:
        script = self._script(text, "py")
        self._run(block, [sys.executable, "-W", "error", script])

    def _js(self, block: Block, text: str) -> None:
        modules = self.folder / "node_modules"
        if not modules.exists():
            modules.symlink_to(ROOT / "tests/conformance/node_modules")
        self._run(block, [str(self.node()), self._script(text, "mjs")])

    def _page(self, block: Block, text: str) -> None:
        address = self.placed(block.words[1]) if len(block.words) > 1 else f"{self.url}/"
        self.said = self.evaluate(address, text)

    def _script(self, text: str, kind: str) -> str:
        self.files += 1
        path = self.path(f"block-{self.files}.{kind}")
        path.write_text(text)
        return str(path)

    def _run(self, block: Block, command: list[str], *, fails: bool = False) -> None:
        done = subprocess.run(
            ["bash", "-c", f'source ./{EXPORTS}; exec "$@"', "story", *command],
            cwd=self.folder,
            env=self.environ(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        self.said = done.stdout
        if (done.returncode != 0) is not fails:
            raise self._wrong(block, f"it ended with {done.returncode} and said:\n{done.stdout}")

    def _start(self, text: str, log: str) -> tuple[ServerProcess, Path]:
        self.files += 1
        path = self.path(f"{log}-{self.files}.log")
        exports = "".join(
            f"export {name}='{value}'\n" for name, value in self.environ().items() if "'" not in value
        )
        command = f"cd '{self.folder}'\n{exports}source ./{EXPORTS}\n{text}"
        return ServerProcess(["bash", "-euo", "pipefail", "-c", command], path), path

    def _serve(self, block: Block, text: str) -> None:
        if self.serving is not None:
            self.serving.stop()
        self.serving, self.served = self._start(text, "serve")
        try:
            asked = "live" if "unready" in block.words else "ready"
            self.serving.start(lambda: answers(f"{self.url}/health/{asked}"), within=SECONDS)
        except RuntimeError as error:
            raise self._wrong(block, str(error)) from error
        self.said = self.served.read_text()
        self.heard = len(self.said)

    def _watch(self, block: Block, text: str) -> None:
        process, log = self._start(text, "watch")
        self.watched = log
        self.watching.append(process)
        try:
            process.start(lambda: log.stat().st_size > 0)
        except RuntimeError as error:
            raise self._wrong(block, str(error)) from error

    def _output(self, block: Block, text: str) -> None:
        if not fits(text, self.said):
            raise self._wrong(block, f"what was printed is:\n{self.said}")

    def _watched(self, block: Block, text: str) -> None:
        self._until(block, text, self.watched, 0)

    def _served(self, block: Block, text: str) -> None:
        self.heard = self._until(block, text, self.served, self.heard)

    def _until(self, block: Block, text: str, log: Path | None, begin: int) -> int:
        """Waits for what a log shall say behind its beginning; returns how long the log is then."""
        if log is None:
            raise self._wrong(block, "nothing runs that could say it")
        deadline = time.monotonic() + self.patience
        while not fits(text, (said := log.read_text())[begin:]):
            if time.monotonic() > deadline:
                raise self._wrong(block, f"what was printed is:\n{said}")
            time.sleep(0.05)
        return len(said)

    def _wire(self, block: Block, text: str) -> None:
        heard: list[str] = []
        path = "uni_websocket" if block.word == "one-way" else "websocket"
        with connect(f"{self.url.replace('http', 'ws', 1)}/connection/{path}") as socket:
            for line in text.splitlines():
                if line.startswith("> "):
                    socket.send(line[2:])
                elif line.startswith("< "):
                    if not heard:
                        heard += _received(socket)
                    found = heard.pop(0)
                    if not fits(line[2:], found):
                        raise self._wrong(block, f"for\n{line}\ncame\n< {found}")

    def _compiled(self, block: Block, text: str) -> None:
        whole = text.startswith("@") or text.partition("\n")[0].endswith(":") or text.endswith("...\n")
        signature = block.word == "signature" and not whole
        body = f"{text.rstrip()}: ...\n" if signature else text
        try:
            compile(
                body, f"{self.page}:{block.line}", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST
            )
        except SyntaxError as error:
            raise self._wrong(block, str(error)) from error

    def _part(self, block: Block, text: str) -> None:
        path = self.path(f"part-{block.line}.yaml")
        path.write_text(text)
        problems = load(path, {name: _value(name) for name in re.findall(r"\$\{(\w+)\}", text)}).problems
        if problems:
            raise self._wrong(block, "\n".join(map(str, problems)))

    def _json(self, block: Block, text: str) -> None:
        try:
            json.loads(text)
        except ValueError as error:
            raise self._wrong(block, str(error)) from error

    def _nothing(self, block: Block, text: str) -> None:
        """It is there to be read."""

    def _wrong(self, block: Block, what: str) -> StoryError:
        return StoryError(f"{self.page}:{block.line}: {what}\n\n{block.text}")


_ANY_LINES = r"(?:.*\n)*?"
_FREE = ("text", "toml")
_ACTS: Mapping[tuple[str, str], Callable[[Story, Block, str], None]] = {
    ("bash", ""): Story._bash,
    ("bash", "fails"): Story._bash,
    ("bash", "serve"): Story._serve,
    ("bash", "watch"): Story._watch,
    ("bash", "elsewhere"): Story._nothing,
    ("text", "output"): Story._output,
    ("text", "watched"): Story._watched,
    ("text", "served"): Story._served,
    ("text", "wire"): Story._wire,
    ("text", "one-way"): Story._wire,
    ("python", ""): Story._python,
    ("python", "part"): Story._compiled,
    ("python", "signature"): Story._compiled,
    ("js", ""): Story._js,
    ("js", "page"): Story._page,
    ("js", "part"): Story._nothing,
    ("yaml", "part"): Story._part,
    ("json", ""): Story._json,
}


def _value(name: str) -> str:
    """What a variable of a part might hold."""
    return "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD" if "WEBHOOK" in name else "x" * 40


def _received(socket: ClientConnection) -> list[str]:
    """What comes next: the lines of a frame, or how the hub closes."""
    try:
        return str(socket.recv(timeout=5, decode=True)).splitlines()
    except ConnectionClosed as closed:
        return [f"CLOSE {closed.rcvd.code} {closed.rcvd.reason}"] if closed.rcvd else ["CLOSE"]
    except TimeoutError:
        return ["nothing"]


def fits(told: str, said: str) -> bool:
    """Whether what was said holds the lines told, one after another; `…` stands for anything."""
    lines = told.strip("\n").splitlines()
    pattern = "".join(_ANY_LINES if line.strip() == "…" else _line(line) for line in lines)
    return re.search(f"(?m)^{pattern}", f"{said}\n") is not None


def _line(line: str) -> str:
    return re.escape(line.rstrip()).replace("…", ".+?") + r"[ ]*\n"


def answers(url: str) -> bool:
    """Whether an address answers with 200."""
    try:
        with urllib.request.urlopen(url, timeout=1) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
