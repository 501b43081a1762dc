"""What may be connected to, for every form in which an address can be told."""

from __future__ import annotations

import pytest

from hub.egress.addresses import METADATA, AddressRules, networks

_REFUSED = """
0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.127.255.255 127.0.0.1 127.255.255.254 169.254.0.1
172.16.0.1 172.31.255.255 192.0.0.1 192.0.2.1 192.88.99.1 192.168.0.1 198.18.0.1 198.19.255.255 198.51.100.7
203.0.113.9 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
:: ::1 fc00::1 fd00::1 fe80::1 fe80::1%eth0 febf::1 fec0::1 ff02::1 100::1 5f00::1 64:ff9b:1::a00:1
2001::1 2001:10::1 2001:db8::1 3fff::1
::ffff:10.0.0.1 ::ffff:127.0.0.1 ::ffff:7f00:1 ::ffff:169.254.169.254 ::ffff:0:127.0.0.1 ::127.0.0.1 ::7f00:1
2002:7f00:1:: 2002:a00:1::1 2002:c0a8:1::1 2002:a9fe:a9fe:: 64:ff9b::127.0.0.1 64:ff9b::a00:1 64:ff9b::a9fe:a9fe
example.com 1 127.1 0177.0.0.1 0x7f.0.0.1 2130706433
"""
_ADMITTED = """
1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.1 100.63.255.255 100.128.0.1 128.0.0.1 172.15.0.1 172.32.0.1 192.167.1.1
198.17.0.1 198.20.0.1 223.255.255.255 2606:4700::1111 2a00:1450::5 2001:4860:4860::8888
::ffff:8.8.8.8 2002:808:808:: 64:ff9b::8.8.8.8
"""


@pytest.mark.parametrize("address", _REFUSED.split())
def test_what_is_not_on_the_public_internet_is_refused_in_every_form(address: str) -> None:
    assert not AddressRules([]).admit(address)


@pytest.mark.parametrize("address", _ADMITTED.split())
def test_the_public_internet_is_admitted(address: str) -> None:
    assert AddressRules([]).admit(address)


@pytest.mark.parametrize(
    ("network", "address", "admitted"),
    [
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "::ffff:10.1.2.3", True),
        ("10.0.0.0/8", "64:ff9b::a01:203", True),
        ("10.0.0.0/8", "11.1.2.3", True),
        ("10.0.0.0/8", "192.168.1.1", False),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("fd12::/16", "fd12::1", True),
        ("fd12::/16", "fd13::1", False),
        ("::1/128", "::1", True),
    ],
)
def test_a_network_that_the_operator_names_is_open(network: str, address: str, admitted: bool) -> None:
    assert AddressRules(networks([network])).admit(address) is admitted


@pytest.mark.parametrize(
    "address", [*sorted(map(str, METADATA)), "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe"]
)
def test_where_clouds_hand_out_credentials_nothing_opens(address: str) -> None:
    assert not AddressRules(networks(["0.0.0.0/0", "::/0"])).admit(address)


def test_a_network_with_bits_of_a_host_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="host bits"):
        networks(["10.0.0.1/8"])
