-- All that change entries take locks in one order: the lease, entries by topic and client, users, topics. Hence nodes
-- wait for one another but never in a circle.

-- Moves the counts of users and topics. Counts that come to nothing are forgotten.
CREATE OR REPLACE FUNCTION @count@(topics bytea[], members bytea[], moves integer[]) RETURNS void
LANGUAGE plpgsql AS $hub$
DECLARE
  gone_topics bytea[];
  gone_members bytea[];
  empty_topics bytea[];
BEGIN
  WITH counted AS (
    INSERT INTO @member@ AS m (topic, member, clients, moved)
    SELECT g.topic, g.member, sum(g.move), sum(g.move) FROM unnest(topics, members, moves) AS g (topic, member, move)
    GROUP BY g.topic, g.member HAVING sum(g.move) <> 0 ORDER BY g.topic, g.member
    ON CONFLICT (topic, member) DO UPDATE SET clients = m.clients + EXCLUDED.moved, moved = EXCLUDED.moved
    RETURNING m.topic, m.member, m.clients, m.moved
  ), totalled AS (
    INSERT INTO @topic@ AS t (topic, clients, users)
    SELECT c.topic, sum(c.moved), count(*) FILTER (WHERE c.clients = c.moved) - count(*) FILTER (WHERE c.clients = 0)
    FROM counted AS c GROUP BY c.topic ORDER BY c.topic
    ON CONFLICT (topic) DO UPDATE SET clients = t.clients + EXCLUDED.clients, users = t.users + EXCLUDED.users
    RETURNING t.topic, t.clients
  )
  SELECT array_agg(c.topic), array_agg(c.member), (SELECT array_agg(t.topic) FROM totalled AS t WHERE t.clients = 0)
  INTO gone_topics, gone_members, empty_topics
  FROM counted AS c WHERE c.clients = 0;
  IF gone_topics IS NOT NULL THEN
    DELETE FROM @member@ AS m USING unnest(gone_topics, gone_members) AS g (topic, member)
    WHERE m.topic = g.topic AND m.member = g.member;
  END IF;
  IF empty_topics IS NOT NULL THEN
    DELETE FROM @topic@ AS t WHERE t.topic = ANY (empty_topics);
  END IF;
END $hub$;

-- Takes out the clients whose member is null and enters the others under the lease `holder`, each client once, as the
-- node's change of this number.
-- Returns those that had not been there.
CREATE OR REPLACE FUNCTION @change@(
  holder bigint, node_name text, lease double precision, number bigint,
  topics bytea[], clients bytea[], members bytea[], conn_infos bytea[], chan_infos bytea[]
) RETURNS TABLE (new_topic bytea, new_client bytea) LANGUAGE plpgsql AS $hub$
DECLARE
  new_topics bytea[];
  new_clients bytea[];
  moved_topics bytea[];
  moved_members bytea[];
  moves integer[];
BEGIN
  -- The row is locked from here on: a change that comes late, its node having given it up, finds a later turn and is
  -- nothing, and nobody closes a lease under which clients are being entered. Where the lease is not the node's any
  -- more it will hear of that with its next renewal: until then nobody shall let go what is entered now.
  UPDATE @owner@ AS o SET turn = number,
    until = CASE o.state WHEN 'held' THEN o.until ELSE clock_timestamp() + make_interval(secs => lease) END,
    state = CASE o.state WHEN 'swept' THEN 'taken' ELSE o.state END
  WHERE o.owner = holder AND o.turn < number;
  IF NOT FOUND THEN
    INSERT INTO @owner@ VALUES (holder, node_name, clock_timestamp() + make_interval(secs => lease), 'begun', number)
    ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
      RETURN;
    END IF;
  END IF;
  WITH given AS (
    SELECT * FROM unnest(topics, clients, members, conn_infos, chan_infos)
      AS g (topic, client, member, conn_info, chan_info)
    ORDER BY g.topic, g.client
  ), gone AS (
    DELETE FROM @entry@ AS e USING given AS g WHERE g.member IS NULL AND e.topic = g.topic AND e.client = g.client
    RETURNING e.topic, e.member
  ), entered AS (
    INSERT INTO @entry@ AS e (topic, client, owner, member, conn_info, chan_info)
    SELECT g.topic, g.client, holder, g.member, g.conn_info, g.chan_info FROM given AS g WHERE g.member IS NOT NULL
    ORDER BY g.topic, g.client
    ON CONFLICT (topic, client) DO UPDATE SET owner = EXCLUDED.owner, member = EXCLUDED.member, was = e.member,
      conn_info = EXCLUDED.conn_info, chan_info = EXCLUDED.chan_info
    WHERE (e.owner, e.member, e.conn_info, e.chan_info)
      IS DISTINCT FROM (EXCLUDED.owner, EXCLUDED.member, EXCLUDED.conn_info, EXCLUDED.chan_info)
    RETURNING e.topic, e.client, e.member, e.was
  ), moved AS (
    SELECT topic, member, -1 AS move FROM gone
    UNION ALL SELECT topic, member, 1 FROM entered WHERE was IS DISTINCT FROM member
    UNION ALL SELECT topic, was, -1 FROM entered WHERE was <> member
  ), fresh AS (
    SELECT array_agg(topic) AS topics, array_agg(client) AS clients FROM entered WHERE was IS NULL
  )
  SELECT m.topics, m.members, m.moves, f.topics, f.clients
  INTO moved_topics, moved_members, moves, new_topics, new_clients
  FROM fresh AS f,
    (SELECT array_agg(topic) AS topics, array_agg(member) AS members, array_agg(move) AS moves FROM moved) AS m;
  IF moves IS NOT NULL THEN
    PERFORM @count@(moved_topics, moved_members, moves);
  END IF;
  RETURN QUERY SELECT * FROM unnest(new_topics, new_clients);
END $hub$;
