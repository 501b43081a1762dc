"""Listening sockets that one process hands to the next: to a worker, or to itself after starting anew."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from socket import socket
from typing import Final, NoReturn, Self

from hub.serving.listen import Ports, close_all, listen

OPTION: Final = "--inherit"


@dataclass(frozen=True, slots=True)
class Inheritance:
    """What a process is given, as the value of a hidden option: numbers of open files, and what it should know.

    `control` is a worker's line to its parent. `host` and `port` are what the public sockets were opened for, `watch`
    the folders to watch; both are for a process that starts itself anew.
    """

    public: tuple[int, ...]
    internal: tuple[int, ...] = ()
    control: int | None = None
    host: str = ""
    port: int = 0
    watch: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads the option's value; raises ValueError for what no hub has written."""
        try:
            given = json.loads(text)
            for key in ("public", "internal", "watch"):
                given[key] = tuple(given.get(key, ()))
            return cls(**given)
        except TypeError as error:
            raise ValueError("it is not what a hub hands to a process of its own") from error

    def __str__(self) -> str:
        return json.dumps({key: value for key, value in asdict(self).items() if value}, separators=(",", ":"))

    def ports(self) -> Ports:
        """The sockets, which the processes that this one starts do not get again."""
        return Ports(_sockets(self.public), _sockets(self.internal))


class Succession:
    """What one life of a process leaves to the next: the sockets of the public port, and the folders to watch."""

    def __init__(self, given: Inheritance | None) -> None:
        self.sockets = _sockets(given.public) if given else []
        self.watch = given.watch if given else ()
        self._address = (given.host, given.port) if given else ("", 0)

    def listen(self, host: str, port: int) -> list[socket]:
        """Copies of the sockets for one life: those left by the life before, if they are for this address."""
        if not self.sockets or self._address != (host, port):
            close_all(self.sockets)
            self.sockets = []
            self.sockets = listen(host, port, "--port")
            self._address = (host, port)
        return [each.dup() for each in self.sockets]

    def pass_on(self, arguments: Sequence[str]) -> NoReturn:
        """Replaces this process by its next life, which keeps its number, its streams and what is left to it."""
        numbers = numbers_of(self.sockets)
        host, port = self._address
        line = command(arguments, Inheritance(numbers, host=host, port=port, watch=self.watch))
        for number in numbers:
            os.set_inheritable(number, True)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os.execv(line[0], line)  # noqa: S606 - our own interpreter and program


def _sockets(numbers: Sequence[int]) -> list[socket]:
    found = [socket(fileno=number) for number in numbers]
    for each in found:
        each.set_inheritable(False)
    return found


def numbers_of(sockets: Sequence[socket]) -> tuple[int, ...]:
    """The sockets' file numbers."""
    return tuple(each.fileno() for each in sockets)


def command(arguments: Sequence[str], given: Inheritance | None = None) -> list[str]:
    """The command line of a hub process, which may get something handed over.

    A file `hub.py` in the working directory must not be taken for the hub, hence -P.
    """
    handed = [] if given is None else [OPTION, str(given)]
    return [sys.executable, "-P", "-m", "hub", *arguments, *handed]
