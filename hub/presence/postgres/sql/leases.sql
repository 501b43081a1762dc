-- Renews the lease `holder`. Where that is not to be had any more, `successor` takes its place from now on.
CREATE OR REPLACE FUNCTION @renew@(holder bigint, successor bigint, node_name text, lease double precision) RETURNS text
LANGUAGE plpgsql AS $hub$
DECLARE
  standing text;
BEGIN
  UPDATE @owner@ AS o SET until = clock_timestamp() + make_interval(secs => lease)
  WHERE o.owner = holder AND o.state = 'held';
  IF FOUND THEN
    RETURN 'kept';
  END IF;
  -- What is left under the former lease shall stay until the node has taken it over.
  UPDATE @owner@ AS o SET until = clock_timestamp() + make_interval(secs => lease),
    state = CASE o.state WHEN 'swept' THEN 'taken' ELSE o.state END
  WHERE o.owner = holder RETURNING o.state INTO standing;
  INSERT INTO @owner@ VALUES (successor, node_name, clock_timestamp() + make_interval(secs => lease), 'held');
  RETURN CASE standing WHEN 'taken' THEN 'taken' ELSE 'lost' END;
END $hub$;

-- Takes out at most `room` clients whose leases have ended and returns them, each to one caller. `mark` and `trace` are
-- the seconds for which it stays known that a lease was taken, and that one ended without any client.
CREATE OR REPLACE FUNCTION @sweep@(room bigint, mark double precision, trace double precision) RETURNS SETOF @entry@
LANGUAGE plpgsql AS $hub$
DECLARE
  ended bigint[];
  gone @entry@[];
BEGIN
  -- Whoever renews or enters at this moment has the row, and so has another who sweeps: it is left to them.
  ended := ARRAY(
    SELECT o.owner FROM @owner@ AS o WHERE o.until <= clock_timestamp() AND o.state <> 'swept' FOR UPDATE SKIP LOCKED
  );
  IF ended = '{}' THEN
    RETURN;
  END IF;
  WITH taken AS (
    DELETE FROM @entry@ AS e WHERE e.ctid = ANY (ARRAY(
      SELECT f.ctid FROM @entry@ AS f WHERE f.owner = ANY (ended) LIMIT room FOR UPDATE SKIP LOCKED
    )) RETURNING e
  )
  SELECT array_agg(t.e) INTO gone FROM taken AS t;
  IF gone IS NOT NULL THEN
    UPDATE @owner@ AS o SET state = 'taken' WHERE o.owner IN (SELECT g.owner FROM unnest(gone) AS g);
    PERFORM @count@(array_agg(g.topic), array_agg(g.member), array_agg(-1)) FROM unnest(gone) AS g;
  END IF;
  UPDATE @owner@ AS o SET state = 'swept'
  WHERE o.owner = ANY (ended) AND o.state = 'taken' AND NOT EXISTS (SELECT FROM @entry@ AS e WHERE e.owner = o.owner);
  DELETE FROM @owner@ AS o
  WHERE o.owner = ANY (ARRAY(
    SELECT p.owner FROM @owner@ AS p
    WHERE p.until <= clock_timestamp()
      - make_interval(secs => CASE WHEN p.state IN ('taken', 'swept') THEN mark ELSE trace END)
    FOR UPDATE SKIP LOCKED
  )) AND NOT EXISTS (SELECT FROM @entry@ AS e WHERE e.owner = o.owner);
  RETURN QUERY SELECT * FROM unnest(gone);
END $hub$;
