"""The sockets a process listens on: opened before anything else starts, so that a taken port is told at once."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from hub.errors import HubError

BACKLOG: Final = 2_048
_TRIED: Final = 20


class ListenError(HubError):
    """An address on which nobody can listen; the text names it, what is in the way, and the remedy."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The listening sockets of a node; `internal` is empty where there is no second port."""

    public: list[socket.socket]
    internal: list[socket.socket] = field(default_factory=list)

    def close(self) -> None:
        """Stops listening, for this process."""
        close_all([*self.public, *self.internal])


def listen(host: str, port: int, remedy: str) -> list[socket.socket]:
    """Listens on every address that `host` stands for; port 0 takes one free port for all of them.

    `remedy` names what chooses the port (`--port`). Raises ListenError.
    """
    opened: list[socket.socket] = []
    refused: OSError | None = None
    for family, address in _addresses(host, port):
        wanted = port or (port_of(opened) if opened else 0)
        try:
            opened.append(_open(family, (address, wanted)))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:  # such as ::1 where IPv6 is off
                refused = error
                continue
            close_all(opened)
            raise ListenError(_why(error, host, port, remedy)) from error
    if not opened:
        raise ListenError(_why(refused or OSError(errno.EADDRNOTAVAIL, ""), host, port, remedy)) from refused
    return opened


def port_of(sockets: Sequence[socket.socket]) -> int:
    """The port on which these sockets really listen."""
    return int(sockets[0].getsockname()[1])


def close_all(sockets: Sequence[socket.socket]) -> None:
    """Closes them; those that are closed already stay so."""
    for each in sockets:
        each.close()


def url_host(host: str) -> str:
    """The host as a browser on this machine writes it: IPv6 in brackets, the loopback address for all addresses."""
    if host in {"", "0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _addresses(host: str, port: int) -> list[tuple[socket.AddressFamily, str]]:
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ListenError(f"cannot listen on `{host}`: it is no address of this machine. (E220)") from error
    return list(dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found))


def _open(family: socket.AddressFamily, address: tuple[str, int]) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections inherit it. Without it an answer written in two pieces waits 40 ms for the peer's acknowledgement.
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind(address)
        # Two may bind the same port as long as neither listens; only this tells that it is ours.
        opened.listen(BACKLOG)
    except OSError:
        opened.close()
        raise
    return opened


def _why(error: OSError, host: str, port: int, remedy: str) -> str:
    if error.errno == errno.EADDRINUSE:
        free = _free_after(host, port)
        example = f", such as {free}" if free else ""
        return f"port {port} is in use{_by_whom(port)}. Choose another with {remedy}{example}. (E220)"
    if error.errno == errno.EACCES:
        return f"port {port} may only be used by root. Choose one from 1024 with {remedy}. (E220)"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"cannot listen on {host}: it is no address of this machine. (E220)"
    return f"cannot listen on {host} port {port}: {os.strerror(error.errno or 0).lower()}. (E220)"


def _by_whom(port: int) -> str:
    """` by pid 4711 (python)`, where the system tells."""
    import psutil  # noqa: PLC0415 - needed in this case only

    try:
        for connection in psutil.net_connections("tcp"):
            address: Any = connection.laddr
            if connection.status == psutil.CONN_LISTEN and address.port == port and connection.pid:
                return f" by pid {connection.pid} ({psutil.Process(connection.pid).name()})"
    except (psutil.Error, OSError):
        pass
    return ""


def _free_after(host: str, port: int) -> int | None:
    for candidate in range(port + 1, min(port + 1 + _TRIED, 65_536)):
        try:
            close_all(
                [_open(family, (address, candidate)) for family, address in _addresses(host, candidate)]
            )
        except OSError:
            continue
        return candidate
    return None
