"""The judge of presence: from who was there to who was not told of, told of twice, or said to be there and is not.

A pure function of a run. In its verdict `acked` are stays that the hub confirmed, `received` the joins and leaves that
watchers were told, `lost` those that they were not and clients missing from a count, `invented` leaves of clients that
are there and clients that are counted and gone. `told` are clients that were said to have left with their frozen node
and, being there, said to be back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import Final

from hub.attendance import SETTLE_SECONDS
from hub.presence.base import LEASE_SECONDS
from hub.presence.keeper import RENEWALS
from tests.chaos.judge import Verdict
from tests.chaos.presence.history import Attendance, Kind, Outage, Stay

NEAR_SECONDS: Final = 0.5
"""What a node was doing for so long before it was killed, or stood still, may have been done by half."""
GATHERED_SECONDS: Final = 2 * SETTLE_SECONDS
"""Who comes and goes within so long after a node went on need not be told of: it gathers, to be sure to be heard."""
STANDING_SECONDS: Final = 0.1
"""How long a node may take to stand still."""
HELD_SECONDS: Final = LEASE_SECONDS * (RENEWALS - 1) / RENEWALS
"""Who stands still for less was surely not taken for gone."""


def judge_presence(attendance: Attendance) -> Verdict:
    """What a run comes to."""
    verdict = Verdict()
    verdict.acked = sum(stay.began is not None for stay in attendance.stays)
    verdict.unknown = len(attendance.stays) - verdict.acked
    _check_counts(attendance, verdict)
    stays = {(stay.topic, stay.client): stay for stay in attendance.stays}
    own = {(stay.topic, stay.client) for stay in attendance.watchers}
    for watcher, told in attendance.told.items():
        heard: dict[tuple[str, str], list[Kind]] = defaultdict(list)
        for each in told:
            heard[each.topic, each.client].append(each.kind)
        for key, stay in stays.items():
            _check_told(watcher, stay, heard.pop(key, []), attendance.outages, verdict)
        for topic, client in heard.keys() - own:
            verdict.invented += 1
            verdict.note(f"{watcher} was told of {client} on {topic}, who was never there")
    return verdict


def _check_counts(attendance: Attendance, verdict: Verdict) -> None:
    """Every node counts those who are there, and nobody else."""
    there: dict[str, dict[str, str]] = defaultdict(dict)
    for stay in [*attendance.stays, *attendance.watchers]:
        if stay.ended is None and stay.began is not None:
            there[stay.topic][stay.client] = stay.user
    if not attendance.counts:
        verdict.note("no node could say who is there")
    for count in attendance.counts:
        here, said = there[count.topic], set(count.clients)
        for kind, wrong in (("lost", here.keys() - said), ("invented", said - here.keys())):
            setattr(verdict, kind, getattr(verdict, kind) + len(wrong))
            if wrong:
                verdict.note(f"{kind}: node {count.node} is wrong about {sorted(wrong)[:3]} on {count.topic}")
        wanted = (len(here), len(set(here.values())))
        if (count.num_clients, count.num_users) != wanted:
            verdict.note(
                f"node {count.node} counts {count.num_clients} clients and {count.num_users} users on "
                f"{count.topic}, where {wanted[0]} and {wanted[1]} are"
            )


def _check_told(
    watcher: str, stay: Stay, kinds: Sequence[Kind], outages: Sequence[Outage], verdict: Verdict
) -> None:
    """Of each client first a join is told and then, once it has gone, a leave."""
    verdict.received += len(kinds)
    who = f"{watcher} was told {', '.join(kinds) or 'nothing'} of {stay.client} from node {stay.node} on {stay.topic}"
    if any(_half_done(stay, outage) and outage.kind == "frozen" for outage in outages):
        # What was heard of it, but not its answer, is said again when the node goes on.
        kinds = [kind for kind, _ in groupby(kinds)]
    doubles = sum(first == second for first, second in pairwise(kinds))
    half_done = any(_half_done(stay, outage) for outage in outages)
    if doubles:
        verdict.duplicated += doubles
        verdict.note(f"{who}: one twice")
        return
    if kinds and kinds[0] == "leave" and not half_done:
        verdict.reordered += 1
        verdict.note(f"{who}: a leave before the join")
        return
    gone = stay.ended is not None
    if kinds and (kinds[-1] == "leave") != gone:
        count = "lost" if gone else "invented"
        died = any(_half_done(stay, outage) and outage.kind == "killed" for outage in outages)
        if not died or not gone:
            setattr(verdict, count, getattr(verdict, count) + 1)
            verdict.note(f"{who}, which {'has left' if gone else 'is there'}")
        return
    brief = any(_brief(stay, outage) for outage in outages)
    if not kinds and stay.began is not None and not half_done and not brief:
        verdict.lost += 2 if gone else 1
        verdict.note(f"{who}, which was there")
        return
    back = max(0, kinds.count("join") - 1)
    verdict.told += back
    if back > sum(_taken(stay, outage) for outage in outages):
        verdict.duplicated += back
        verdict.note(f"{who}: back without having been away")


def _half_done(stay: Stay, outage: Outage) -> bool:
    """Whether the client came or went, or was about to, when its node was killed or stood still."""
    if outage.node != stay.node:
        return False
    moments = [stay.asked, stay.began or stay.asked, stay.ended or float("inf")]
    return any(outage.began - NEAR_SECONDS < moment <= outage.began + STANDING_SECONDS for moment in moments)


def _brief(stay: Stay, outage: Outage) -> bool:
    """Whether the client came and went while its node, which had stood still, was not sure to be heard."""
    return (
        outage.kind == "frozen"
        and outage.node == stay.node
        and stay.ended is not None
        and outage.began < stay.asked
        and stay.ended < outage.ended + GATHERED_SECONDS
    )


def _taken(stay: Stay, outage: Outage) -> bool:
    """Whether the client's node may have been taken for gone while the client was there."""
    return (
        outage.kind == "frozen"
        and outage.node == stay.node
        and outage.ended - outage.began > HELD_SECONDS
        and stay.asked < outage.ended
        and (stay.ended is None or stay.ended > outage.began)
    )
