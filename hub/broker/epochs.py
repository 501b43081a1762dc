"""Names for the epochs of histories."""

from __future__ import annotations

import os
import string
from typing import Final

_LENGTH: Final = 10
_LETTERS: Final = bytes(ord(string.ascii_letters[number % 52]) for number in range(256))


def new_epoch() -> str:
    """Ten random letters: of 52 to the power of ten, so that two histories of one topic never share one."""
    return os.urandom(_LENGTH).translate(_LETTERS).decode()
