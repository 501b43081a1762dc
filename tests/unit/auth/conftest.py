"""The fixtures of the tests about tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from hub.auth.tokens import TokenVerifier
from tests.unit.auth.forging import Clock, KeyPair, pair, verifier_with


@pytest.fixture(scope="session")
def rsa_pair() -> KeyPair:
    return pair(rsa.generate_private_key(65_537, 2_048))


@pytest.fixture(scope="session")
def ec_pair() -> KeyPair:
    return pair(ec.generate_private_key(ec.SECP256R1()))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make_verifier(clock: Clock) -> Callable[..., TokenVerifier]:
    def make(**changes: Any) -> TokenVerifier:
        return verifier_with(clock, **changes)

    return make


@pytest.fixture
def verifier(make_verifier: Callable[..., TokenVerifier]) -> TokenVerifier:
    return make_verifier()
