from __future__ import annotations

import os
from pathlib import Path

import pytest

from hub.settings.files import UnreadableFileError, read_text


def test_text_comes_with_its_line_ends_and_without_a_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"\xef\xbb\xbfgr\xc3\xbc\xc3\x9f\r\n")
    assert read_text(file, 1024) == "grüß\r\n"


def test_a_file_of_just_the_limit_is_read_and_a_bigger_one_is_not(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("x" * 1024)
    assert len(read_text(file, 1024)) == 1024
    file.write_text("x" * 1025)
    with pytest.raises(UnreadableFileError, match="it is bigger than 1 KiB"):
        read_text(file, 1024)


def test_a_file_without_end_is_refused_after_its_limit() -> None:
    with pytest.raises(UnreadableFileError, match="bigger"):
        read_text(Path("/dev/zero"), 1024)


def test_what_is_not_utf_8_is_refused_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes("ä: 1\nö: ".encode() + b"\xff")
    with pytest.raises(UnreadableFileError, match="it is not UTF-8") as caught:
        read_text(file, 1024)
    assert (caught.value.line, caught.value.column) == (2, 4)


def test_a_missing_file_a_folder_and_an_impossible_name_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match="there is no such file"):
        read_text(tmp_path / "f", 1024)
    with pytest.raises(UnreadableFileError, match="it is a folder"):
        read_text(tmp_path, 1024)
    with pytest.raises(UnreadableFileError, match="the system says: embedded null byte"):
        read_text(tmp_path / "a\0b", 1024)
    with pytest.raises(UnreadableFileError, match="the system says: File name too long"):
        read_text(tmp_path / ("x" * 5000), 1024)


def test_a_file_that_the_user_may_not_read_says_so(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.touch(mode=0)
    root = os.geteuid() == 0
    if root:  # who may read everything
        os.seteuid(65_534)
    try:
        with pytest.raises(UnreadableFileError, match="the hub may not read it"):
            read_text(file, 1024)
    finally:
        if root:
            os.seteuid(0)
