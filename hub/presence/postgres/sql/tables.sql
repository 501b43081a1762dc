-- What presence keeps. Names between @ stand for names with the hub's prefix.
-- A crash, or a failover to a replica, empties all of it at once; every node learns that when it renews its lease.

-- Leases. A node has another owner's number with each lease, so that one that comes back late loses nothing twice.
-- held: renewed so far. begun: its node entered clients before it had renewed. taken: ended, and clients of it were let
-- go. swept: the same, and nothing is left of it. Rows that have ended stay for a while, so that their node is told.
-- `turn` is the number of the latest change that was made under it.
CREATE UNLOGGED TABLE IF NOT EXISTS @owner@ (
  owner bigint PRIMARY KEY,
  node text NOT NULL,
  until timestamptz NOT NULL,
  state text NOT NULL CHECK (state IN ('held', 'begun', 'taken', 'swept')),
  turn bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);

-- Clients on topics, bytea since any name can be. `was` is the member that an entry had before its latest change, null
-- when that made it: thus one statement enters clients and learns what it replaced, whoever else is at it.
CREATE UNLOGGED TABLE IF NOT EXISTS @entry@ (
  topic bytea NOT NULL,
  client bytea NOT NULL,
  owner bigint NOT NULL,
  member bytea NOT NULL,
  was bytea,
  conn_info bytea,
  chan_info bytea,
  PRIMARY KEY (topic, client)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX IF NOT EXISTS "@entry_by_owner@" ON @entry@ (owner);

-- How many clients each user has on a topic, and by how much the latest change moved that.
CREATE UNLOGGED TABLE IF NOT EXISTS @member@ (
  topic bytea NOT NULL,
  member bytea NOT NULL,
  clients bigint NOT NULL,
  moved bigint NOT NULL,
  PRIMARY KEY (topic, member)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);

-- The counts of a topic. Many nodes change one row: room in its page keeps the versions there, and the index as it is.
CREATE UNLOGGED TABLE IF NOT EXISTS @topic@ (
  topic bytea PRIMARY KEY,
  clients bigint NOT NULL,
  users bigint NOT NULL
) WITH (fillfactor = 30, autovacuum_vacuum_scale_factor = 0.05);

CREATE TABLE IF NOT EXISTS @schema@ (version integer PRIMARY KEY);
INSERT INTO @schema@ VALUES (1) ON CONFLICT DO NOTHING;
