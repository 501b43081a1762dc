-- Deletes what can neither be read any more nor may still be on its way to a node; one node at a time does it.
-- `carry` is how many seconds a row is kept for nodes to fetch, `budget` how many rows are deleted of a kind at most.
-- Returns whether there is more to do at once.
CREATE FUNCTION @trim@(carry double precision, budget integer) RETURNS boolean
LANGUAGE plpgsql AS $hub$
DECLARE
  began timestamptz := clock_timestamp();
  carried timestamptz := began - make_interval(secs => carry);
  t @topic@;
  lowest record;
  gone integer;
  total integer := 0;
  more boolean := false;
BEGIN
  IF NOT pg_try_advisory_xact_lock(@trim_lock@) THEN
    RETURN false;
  END IF;
  DELETE FROM @passing@ WHERE ctid = ANY (ARRAY(
    SELECT p.ctid FROM @passing@ p WHERE p.written < carried LIMIT budget));
  GET DIAGNOSTICS gone = ROW_COUNT;
  more := more OR gone >= budget;
  DELETE FROM @result@ WHERE ctid = ANY (ARRAY(
    SELECT r.ctid FROM @result@ r WHERE r.expires <= began LIMIT budget));
  GET DIAGNOSTICS gone = ROW_COUNT;
  more := more OR gone >= budget;
  DELETE FROM @publication@ WHERE ctid = ANY (ARRAY(
    SELECT p.ctid FROM @stale@ s JOIN @publication@ p USING (stream) WHERE p.written < carried LIMIT budget));
  GET DIAGNOSTICS gone = ROW_COUNT;
  more := more OR gone >= budget;
  DELETE FROM @stale@ s WHERE NOT EXISTS (SELECT FROM @publication@ p WHERE p.stream = s.stream);

  -- A topic that is being published to is left for the next time.
  FOR t IN
    SELECT * FROM @topic@ WHERE due <= began OR expires <= began LIMIT 500 FOR UPDATE SKIP LOCKED
  LOOP
    total := total + 1;
    IF t.expires <= began THEN
      INSERT INTO @stale@ VALUES (t.stream) ON CONFLICT DO NOTHING;
      DELETE FROM @topic@ WHERE name = t.name;
      CONTINUE;
    END IF;
    SELECT p.at_offset, p.expires INTO lowest FROM @publication@ p
    WHERE p.stream = t.stream AND p.at_offset >= t.first AND p.expires > began ORDER BY p.at_offset LIMIT 1;
    t.first := coalesce(lowest.at_offset, t.top + 1);
    DELETE FROM @publication@ WHERE ctid = ANY (ARRAY(
      SELECT p.ctid FROM @publication@ p
      WHERE p.stream = t.stream AND p.at_offset < t.first AND p.written < carried LIMIT budget));
    GET DIAGNOSTICS gone = ROW_COUNT;
    total := total + gone;
    IF EXISTS (SELECT FROM @publication@ p WHERE p.stream = t.stream AND p.at_offset < t.first) THEN
      t.due := began + make_interval(secs => carry / 2);
    ELSE
      t.due := lowest.expires;
    END IF;
    UPDATE @topic@ SET first = t.first, due = t.due WHERE name = t.name;
    EXIT WHEN total >= budget;
  END LOOP;
  RETURN more OR total >= least(budget, 500);
END $hub$;
