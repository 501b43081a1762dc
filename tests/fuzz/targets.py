"""What is fuzzed: for each target a function that takes any bytes and raises when a promise is broken."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from tests.fuzz.frames import frame_reader, inflating
from tests.fuzz.heads import http_head
from tests.fuzz.texts import command_decoder, settings_file
from tests.fuzz.tokens import key_document, token_verifier

CORPUS: Final = Path(__file__).with_name("corpus")
Target = Callable[[bytes], None]
TARGETS: Final[Mapping[str, Target]] = {
    "frame-reader": frame_reader,
    "command-decoder": command_decoder,
    "token-verifier": token_verifier,
    "key-document": key_document,
    "settings-file": settings_file,
    "http-head": http_head,
    "deflate": inflating,
}


def kept(target: str) -> list[Path]:
    """The inputs that are kept for a target: seeds, and each that once broke a promise (`found-…`)."""
    return sorted(path for path in (CORPUS / target).iterdir() if path.is_file())
