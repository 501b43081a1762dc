"""One-time tickets: each is good once, for half a minute, for one origin, and never for anybody else's node."""

from __future__ import annotations

import asyncio
import base64
import uuid
from collections.abc import Callable

import msgspec
import pytest

from hub import tickets as module
from hub.cluster import Cluster, Letter
from hub.errors import BrokerError, InvalidToken, ReplyError
from hub.model import Identity
from hub.tasks import Tasks
from hub.tickets import MAX_USER_TICKETS, TICKET_SECONDS, Tickets

ANN = Identity(
    user="ann",
    info=b'{"name":"Ann"}',
    expires_at=2e9,
    claims={"sub": "ann", "jti": "7", "iat": 5, "deep": {"a": [1, None]}},
    topics={"chat:*": frozenset({"subscribe", "publish"})},
    subs={"inbox:ann": {"data": {"x": 1}, "override": {"presence": True}}},
)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Network:
    """Control channels in memory; every letter that went over them is kept."""

    def __init__(self) -> None:
        self.clusters: list[Cluster] = []
        self.sent: list[bytes] = []
        self.away = False

    async def send(self, message: bytes) -> None:
        if self.away:
            raise BrokerError("gone", unknown=True)
        self.sent.append(message)
        for cluster in self.clusters:
            cluster.receive(message)

    def join(self, clock: Callable[[], float], most: int = module.MAX_TICKETS) -> Tickets:
        cluster = Cluster(str(uuid.uuid4()), self.send, Tasks(), clock)
        self.clusters.append(cluster)
        return Tickets(cluster, clock, most=most)

    async def meet(self) -> None:
        """Each node hears of the others."""
        for cluster in self.clusters:
            await self.send(msgspec.json.encode(Letter("beat", cluster.node)))
        await asyncio.sleep(0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def network() -> Network:
    return Network()


async def refused(tickets: Tickets, ticket: str, origin: str = "") -> str:
    with pytest.raises(InvalidToken) as caught:
        await tickets.redeem(ticket, origin)
    assert ticket == "" or ticket not in str(caught.value)
    return str(caught.value)


async def test_a_ticket_gives_back_the_whole_identity_and_only_once(network: Network, clock: Clock) -> None:
    tickets = network.join(clock)
    ticket = tickets.issue(ANN)
    assert await tickets.redeem(ticket) == ANN
    assert await refused(tickets, ticket) == "no such ticket"
    assert len(tickets) == 0
    assert network.sent == [], "a node's own ticket costs no letter"


async def test_each_ticket_is_another_of_at_least_128_random_bits(network: Network, clock: Clock) -> None:
    tickets = network.join(clock)
    found = {tickets.issue(Identity(str(number))) for number in range(500)}
    assert len(found) == 500
    assert len({ticket[-27:] for ticket in found}) == 500, "the secret stands behind the node's 128 bits"
    assert module._SECRET_BYTES * 8 >= 128


async def test_what_is_kept_holds_no_secret(network: Network, clock: Clock) -> None:
    tickets = network.join(clock)
    secret = base64.urlsafe_b64decode(tickets.issue(ANN))[16:]
    assert all(secret not in key for key in tickets._kept)
    assert secret.hex() not in repr(vars(tickets))


async def test_a_ticket_ends_after_its_seconds_and_is_forgotten(network: Network, clock: Clock) -> None:
    tickets = network.join(clock)
    early, late = tickets.issue(ANN), tickets.issue(ANN)
    clock.now = TICKET_SECONDS - 0.1
    assert (await tickets.redeem(early)).user == "ann"
    clock.now = TICKET_SECONDS
    assert await refused(tickets, late) == "no such ticket"
    assert (len(tickets), tickets._bytes, tickets._users) == (0, 0, {})


async def test_a_ticket_of_a_page_is_for_that_origin_and_burnt_by_any_other(
    network: Network, clock: Clock
) -> None:
    tickets = network.join(clock)
    ours = "https://app.example"
    assert (await tickets.redeem(tickets.issue(ANN, ours), ours)).user == "ann"
    for other in ("", "https://evil.example", "https://app.example.", "https://app.example:443", "null"):
        ticket = tickets.issue(ANN, ours)
        assert await refused(tickets, ticket, other) == "no such ticket"
        assert await refused(tickets, ticket, ours) == "no such ticket"
    assert (await tickets.redeem(tickets.issue(ANN), ours)).user == "ann", "a backend's may go to any page"


@pytest.mark.parametrize(
    "ticket",
    ["", "x", "a.b.c", "A" * 48, "A" * 47, "A" * 49, "=" * 48, "ü" * 48, "A" * 10_000, "\x00" * 48, " " * 48],
)
async def test_what_nobody_issued_is_no_ticket(network: Network, clock: Clock, ticket: str) -> None:
    tickets = network.join(clock)
    tickets.issue(ANN)
    await refused(tickets, ticket)
    assert len(tickets) == 1


async def test_a_changed_ticket_is_no_ticket(network: Network, clock: Clock) -> None:
    tickets = network.join(clock)
    ticket = tickets.issue(ANN)
    for place in (0, 20, 30, 47):
        changed = ticket[:place] + ("A" if ticket[place] != "A" else "B") + ticket[place + 1 :]
        await refused(tickets, changed)
    assert (await tickets.redeem(ticket)).user == "ann"


async def test_a_user_who_takes_many_loses_the_oldest_and_no_other_user_any(
    network: Network, clock: Clock
) -> None:
    tickets = network.join(clock)
    bobs = tickets.issue(Identity("bob"))
    mine = [tickets.issue(ANN) for _ in range(MAX_USER_TICKETS + 2)]
    assert len(tickets) == MAX_USER_TICKETS + 1
    for ticket in mine[:2]:
        await refused(tickets, ticket)
    for ticket in [*mine[2:], bobs]:
        await tickets.redeem(ticket)


async def test_a_full_node_refuses_more_until_some_are_old(network: Network, clock: Clock) -> None:
    tickets = network.join(clock, most=3)
    for user in "abc":
        tickets.issue(Identity(user))
    with pytest.raises(ReplyError) as caught:
        tickets.issue(Identity("d"))
    assert (caught.value.code, caught.value.temporary) == (106, True)
    clock.now = TICKET_SECONDS
    tickets.issue(Identity("d"))


async def test_identities_take_no_more_than_their_bytes(
    network: Network, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_TICKET_BYTES", 1_000)
    tickets = network.join(clock)
    tickets.issue(Identity("a", claims={"x": "y" * 700}))
    with pytest.raises(ReplyError, match="106"):
        tickets.issue(Identity("b", claims={"x": "y" * 700}))


async def test_any_node_redeems_the_ticket_of_another_and_no_secret_goes_between(
    network: Network, clock: Clock
) -> None:
    one, two = network.join(clock), network.join(clock)
    await network.meet()
    ticket = one.issue(ANN, "https://app.example")
    network.sent.clear()
    assert await two.redeem(ticket, "https://app.example") == ANN
    assert len(one) == 0
    assert await refused(one, ticket) == await refused(two, ticket) == "no such ticket"
    letters = [msgspec.json.decode(letter) for letter in network.sent]
    assert [letter["kind"] for letter in letters] == ["ask", "answer", "ask", "answer"]
    assert not any(ticket.encode() in letter for letter in network.sent)


async def test_of_two_nodes_at_once_one_gets_it(network: Network, clock: Clock) -> None:
    one, two, three = (network.join(clock) for _ in range(3))
    await network.meet()
    ticket = one.issue(ANN)
    found = await asyncio.gather(*(node.redeem(ticket) for node in (two, three)), return_exceptions=True)
    assert sorted(type(each).__name__ for each in found) == ["Identity", "InvalidToken"]


async def test_the_ticket_of_a_node_that_is_gone_or_cannot_be_asked_is_no_good(
    network: Network, clock: Clock
) -> None:
    one, two = network.join(clock), network.join(clock)
    stranger = Network().join(clock)
    await network.meet()
    assert "does not answer" in await refused(two, stranger.issue(ANN))
    network.away = True
    assert "does not answer" in await refused(two, one.issue(ANN))
