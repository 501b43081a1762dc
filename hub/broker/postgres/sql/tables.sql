-- What the broker keeps. Names between @ stand for names with the hub's prefix.
-- Topics and keys are bytea: every name there can be, compared byte by byte whatever the database's collation.

-- A topic's position. `stream` is the number under which its publications are kept: a forgotten position begins with a
-- new one. `first` is the oldest offset that may be read, `due` when something of the topic is to be trimmed.
CREATE TABLE @topic@ (
  name bytea PRIMARY KEY,
  stream bigint NOT NULL,
  epoch text NOT NULL,
  run text NOT NULL,
  top bigint NOT NULL DEFAULT 0,
  first bigint NOT NULL DEFAULT 1,
  expires timestamptz NOT NULL,
  due timestamptz,
  version numeric NOT NULL DEFAULT 0,
  version_epoch bytea NOT NULL DEFAULT ''
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05);

-- Publications with a position. `seq` is drawn under the lock of the topic's row, so that it rises with the offset.
CREATE TABLE @publication@ (
  stream bigint NOT NULL,
  at_offset bigint NOT NULL,
  seq bigint NOT NULL,
  xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  written timestamptz NOT NULL DEFAULT clock_timestamp(),
  expires timestamptz NOT NULL,
  topic bytea NOT NULL,
  epoch text NOT NULL,
  body bytea NOT NULL,
  PRIMARY KEY (stream, at_offset)
) WITH (autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX ON @publication@ (xid);

-- Publications without history, on their way for some seconds. A crash empties it, and each node then tells a gap.
CREATE UNLOGGED TABLE @passing@ (
  seq bigint NOT NULL,
  xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  written timestamptz NOT NULL DEFAULT clock_timestamp(),
  topic bytea NOT NULL,
  body bytea NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX ON @passing@ (xid);

-- What became of publishes with an idempotency key.
CREATE TABLE @result@ (
  topic bytea NOT NULL,
  key bytea NOT NULL,
  at_offset bigint,
  epoch text,
  expires timestamptz NOT NULL,
  PRIMARY KEY (topic, key)
);
CREATE INDEX ON @result@ (expires);

-- Numbers of streams that nobody reads any more; the trimming job empties them.
CREATE TABLE @stale@ (stream bigint PRIMARY KEY);

-- One row that a crash, or a failover to a replica, loses: whoever misses it knows that @passing@ was lost as well.
CREATE UNLOGGED TABLE @alive@ (one boolean PRIMARY KEY DEFAULT true CHECK (one), id text NOT NULL);

-- What applications published inside their own transactions, until a node has given it its position.
CREATE TABLE @outbox@ (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  topic text NOT NULL,
  payload text NOT NULL,
  tags text,
  idempotency_key text NOT NULL,
  version bigint NOT NULL,
  version_epoch text NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.05);

CREATE SEQUENCE @seq@;
CREATE SEQUENCE @streams@;
CREATE TABLE @schema@ (version integer PRIMARY KEY);
INSERT INTO @schema@ VALUES (1);
