"""Which addresses the hub may connect to when a URL or a name server leads it there: those of the public internet.

Private, loopback, link-local, shared, documentation, multicast and reserved addresses are refused, and so are IPv6
forms that only wrap such an IPv4 address. Networks that the operator names are let through; the addresses at which
clouds hand out credentials never are.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

METADATA: Final = frozenset(
    ip_address(text)
    for text in (
        "169.254.169.254",
        "169.254.170.2",
        "169.254.170.23",
        "169.254.0.23",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
    )
)
"""Where AWS, Azure, Google, Oracle, Alibaba and Tencent answer questions about the machine; no setting opens these."""

# Written out, because what `ipaddress` calls global differs between the versions of Python.
_CLOSED_4: Final = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
_OPEN_6: Final = IPv6Network("2000::/3")
_CLOSED_6: Final = tuple(IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "3fff::/20"))
_NAT64: Final = IPv6Network("64:ff9b::/96")


class AddressRules:
    """What one hub may connect to: the public internet, and the networks in `allow`."""

    __slots__ = ("_allow",)

    def __init__(self, allow: Iterable[Network]) -> None:
        self._allow = tuple(allow)

    def admit(self, text: str) -> bool:
        """Whether an address, as a name server or a URL gives it, may be connected to; false for what is none."""
        try:
            address = ip_address(text)
        except ValueError:
            return False
        inner = unwrapped(address)
        if address in METADATA or inner in METADATA:
            return False
        return public(inner) or any(one in network for network in self._allow for one in (address, inner))


def networks(texts: Iterable[str]) -> list[Network]:
    """Networks from CIDR texts; raises ValueError for one that is none."""
    return [ip_network(text) for text in texts]


def unwrapped(address: Address) -> Address:
    """The IPv4 address in one of IPv6 that is mapped, of 6to4 or of NAT64; any other as it is."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def public(address: Address) -> bool:
    """Whether an unwrapped address belongs to a machine on the public internet."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _CLOSED_4)
    return address in _OPEN_6 and not any(address in network for network in _CLOSED_6)
