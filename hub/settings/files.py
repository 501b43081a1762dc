"""Reading a text file with a bound on its size, and saying in plain words why it cannot be read."""

from __future__ import annotations

from pathlib import Path

from hub.errors import HubError


class UnreadableFileError(HubError):
    """A file that gives no text: why, how to mend it, and the 1-based line and column if a place in it is at fault."""

    def __init__(self, reason: str, remedy: str, line: int = 0, column: int = 0) -> None:
        self.reason = reason
        self.remedy = remedy
        self.line = line
        self.column = column
        super().__init__(reason)


def read_text(path: Path, limit: int) -> str:
    """The text of a UTF-8 file of at most `limit` bytes, without a byte order mark and with its line ends kept.

    Raises UnreadableFileError when there is no such file, it is a folder, may not be read, is too big, or is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise _unreadable(error) from error
    if len(content) > limit:
        raise too_big(limit)
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        raise UnreadableFileError("it is not UTF-8", "Save it as UTF-8.", line, column) from error


def too_big(limit: int) -> UnreadableFileError:
    """The error for a text of more than `limit` bytes, a multiple of 1024."""
    return UnreadableFileError(f"it is bigger than {limit // 1024} KiB", "Check that it is the right file.")


def _unreadable(error: OSError | ValueError) -> UnreadableFileError:
    if isinstance(error, FileNotFoundError):
        return UnreadableFileError("there is no such file", "Check the path, or write the file.")
    if isinstance(error, IsADirectoryError):
        return UnreadableFileError("it is a folder", "Name a file in it.")
    if isinstance(error, PermissionError):
        return UnreadableFileError("the hub may not read it", "Give the hub's user the right to read it.")
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return UnreadableFileError(f"the system says: {said}", "Check the path.")
