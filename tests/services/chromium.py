"""A real Chromium for the tests of pages: HUB_TEST_CHROMIUM, or one on the PATH."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from tests.services.missing import find_program, unavailable
from tests.services.process import ServerProcess

REMEDY = (
    "install Chromium (Debian: apt install chromium; macOS: brew install --cask chromium), "
    "or set HUB_TEST_CHROMIUM to the program of a Chromium or Chrome"
)
NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome", "microsoft-edge")
MACOS = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
# The browser looks at our page and calls nobody else.
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# Several pages at once, each as if somebody looked at it.
ALL_AWAKE = (
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
)


@dataclass(frozen=True, slots=True)
class Chromium:
    """A Chromium to start: `path`, and the `flags` that keep it headless, unprivileged and offline."""

    path: Path
    flags: tuple[str, ...]

    def command(self, user_data_dir: Path, *more: str) -> list[str]:
        """The command line of a browser with a fresh profile in `user_data_dir`; `more` are further flags or a URL."""
        return [str(self.path), *self.flags, f"--user-data-dir={user_data_dir}", *more]


def find_chromium() -> Chromium | None:
    """Finds a Chromium or Chrome by HUB_TEST_CHROMIUM, on the PATH, or where macOS keeps it."""
    named = os.environ.get("HUB_TEST_CHROMIUM")
    path = Path(named) if named else find_program(*NAMES)
    if path is None and MACOS.exists():
        path = MACOS
    return Chromium(path, FLAGS) if path else None


@pytest.fixture
def chromium() -> Chromium:
    """A Chromium that the test starts itself."""
    found = find_chromium()
    if found is None:
        unavailable("Chromium", REMEDY)
    return found


@pytest.fixture(scope="session")
def _owned_devtools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str | None]:
    found = find_chromium()
    if found is None:
        yield None
        return
    folder = tmp_path_factory.mktemp("chromium")
    announced = folder / "profile" / "DevToolsActivePort"
    command = found.command(folder / "profile", "--remote-debugging-port=0", *ALL_AWAKE, "about:blank")
    process = ServerProcess(command, folder / "chromium.log")
    process.start(lambda: announced.exists() and "\n" in announced.read_text(), within=30)
    yield f"http://127.0.0.1:{announced.read_text().splitlines()[0]}"
    process.stop()


@pytest.fixture
def devtools_url(_owned_devtools: str | None) -> Iterator[str]:
    """A running headless Chromium, one for the whole run; the HTTP address of its DevTools protocol.

    The pages that a test leaves open are closed, before the servers that they talk to stop.
    """
    if _owned_devtools is None:
        unavailable("Chromium", REMEDY)
    yield _owned_devtools
    with httpx2.Client(base_url=_owned_devtools) as devtools:
        pages = devtools.get("/json/list").json()
        devtools.put("/json/new?about:blank")  # without any page the browser would end
        for page in pages:
            devtools.get(f"/json/close/{page['id']}")
