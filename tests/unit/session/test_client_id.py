"""Ids of clients."""

from __future__ import annotations

import uuid

from hub.session.client_id import new_client_id


def test_an_id_is_a_random_uuid_in_its_usual_form() -> None:
    ids = {new_client_id() for _ in range(1_000)}
    assert len(ids) == 1_000
    for each in ids:
        found = uuid.UUID(each)
        assert str(found) == each
        assert (found.version, found.variant) == (4, uuid.RFC_4122)
