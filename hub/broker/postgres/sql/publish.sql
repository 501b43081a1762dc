-- Returns a topic's row, locked until the transaction ends, and made anew where there is none or its time has passed.
-- After a failover the server may have lost the latest offsets and would give them out again: what is kept stays
-- readable, but under a new epoch.
CREATE FUNCTION @lock@(wanted bytea, run_now text, fresh text, keep double precision) RETURNS @topic@
LANGUAGE plpgsql AS $hub$
DECLARE
  found_row @topic@;
BEGIN
  LOOP
    SELECT * INTO found_row FROM @topic@ WHERE name = wanted FOR UPDATE;
    EXIT WHEN FOUND;
    INSERT INTO @topic@ (name, stream, epoch, run, expires)
    VALUES (wanted, nextval('@streams@'), fresh, run_now, clock_timestamp() + make_interval(secs => keep))
    ON CONFLICT DO NOTHING;
  END LOOP;
  IF found_row.expires <= clock_timestamp() THEN
    INSERT INTO @stale@ VALUES (found_row.stream) ON CONFLICT DO NOTHING;
    UPDATE @topic@ SET stream = nextval('@streams@'), epoch = fresh, run = run_now, top = 0, first = 1, due = NULL,
      version = 0, version_epoch = '', expires = clock_timestamp() + make_interval(secs => keep)
    WHERE name = wanted RETURNING * INTO found_row;
  ELSIF found_row.run <> run_now THEN
    UPDATE @topic@ SET epoch = fresh, run = run_now WHERE name = wanted RETURNING * INTO found_row;
  END IF;
  RETURN found_row;
END $hub$;

-- Publishes a batch as one act. The arrays hold one element for each publication: topic, body, history size (NULL for
-- none), ttl and meta ttl in seconds, idempotency key (NULL for none) and how long it is remembered, version and its
-- epoch. `claim` are the rows of the outbox that the batch stands for: it is nothing unless all are still there.
-- Rows of topics are locked in one order by all, so that batches do not wait for one another in a circle.
CREATE FUNCTION @publish@(
  run_now text, fresh text, keep double precision, topics bytea[], bodies bytea[], sizes bigint[],
  ttls double precision[], metas double precision[], keys bytea[], remembers double precision[], versions text[],
  version_epochs bytea[], claim bigint[],
  OUT offsets bigint[], OUT epochs text[], OUT suppressed boolean[]
) LANGUAGE plpgsql AS $hub$
#variable_conflict use_column
DECLARE
  total integer := cardinality(topics);
  began timestamptz := clock_timestamp();
  streams bigint[] := array_fill(NULL::bigint, ARRAY[total]);
  expiries timestamptz[] := array_fill(NULL::timestamptz, ARRAY[total]);
  seqs bigint[];
  t @topic@;
  item record;
  earlier record;
  claimed integer;
BEGIN
  IF claim IS NOT NULL THEN
    IF NOT pg_try_advisory_xact_lock(@outbox_lock@) THEN
      RAISE EXCEPTION 'another node empties the outbox' USING ERRCODE = 'lock_not_available';
    END IF;
    DELETE FROM @outbox@ WHERE id = ANY (claim);
    GET DIAGNOSTICS claimed = ROW_COUNT;
    IF claimed <> cardinality(claim) THEN
      RAISE EXCEPTION 'another node has emptied the outbox' USING ERRCODE = 'lock_not_available';
    END IF;
  END IF;
  offsets := array_fill(NULL::bigint, ARRAY[total]);
  epochs := array_fill(NULL::text, ARRAY[total]);
  suppressed := array_fill(false, ARRAY[total]);

  FOR item IN
    SELECT i.* FROM unnest(topics, sizes, ttls, metas, keys, remembers, versions::numeric[], version_epochs)
      WITH ORDINALITY AS i (topic, size, ttl, meta, key, remember, version, version_epoch, nr)
    WHERE i.size IS NOT NULL OR i.key IS NOT NULL OR i.version > 0
    UNION ALL SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL  -- ends the last topic
    ORDER BY topic NULLS LAST, nr
  LOOP
    IF item.topic IS DISTINCT FROM t.name THEN
      IF t.name IS NOT NULL THEN
        UPDATE @topic@ SET top = t.top, first = t.first, expires = t.expires, due = t.due, version = t.version,
          version_epoch = t.version_epoch WHERE name = t.name;
      END IF;
      EXIT WHEN item.topic IS NULL;
      t := @lock@(item.topic, run_now, fresh, keep);
    END IF;

    IF item.key IS NOT NULL THEN
      SELECT r.at_offset, r.epoch INTO earlier FROM @result@ r
      WHERE r.topic = item.topic AND r.key = item.key AND r.expires > began;
      IF FOUND THEN
        offsets[item.nr] := earlier.at_offset;
        epochs[item.nr] := earlier.epoch;
        suppressed[item.nr] := true;
        CONTINUE;
      END IF;
    END IF;

    IF item.version > 0 THEN
      IF t.version_epoch = item.version_epoch AND t.version >= item.version THEN
        IF item.size IS NOT NULL THEN
          offsets[item.nr] := t.top;
          epochs[item.nr] := t.epoch;
        END IF;
        suppressed[item.nr] := true;
        CONTINUE;
      END IF;
      t.version := item.version;
      t.version_epoch := item.version_epoch;
    END IF;

    IF item.size IS NOT NULL THEN
      t.top := t.top + 1;
      t.first := greatest(t.first, t.top - item.size + 1);
      t.expires := began + make_interval(secs => item.meta);
      t.due := least(t.due, began + make_interval(secs => least(item.ttl, 60)));
      offsets[item.nr] := t.top;
      epochs[item.nr] := t.epoch;
      streams[item.nr] := t.stream;
      expiries[item.nr] := began + make_interval(secs => item.ttl);
    ELSE
      t.expires := greatest(
        t.expires, began + make_interval(secs => CASE WHEN item.version > 0 THEN keep ELSE item.remember END));
    END IF;

    IF item.key IS NOT NULL THEN
      INSERT INTO @result@ (topic, key, at_offset, epoch, expires)
      VALUES (item.topic, item.key, offsets[item.nr], epochs[item.nr],
              began + make_interval(secs => item.remember))
      ON CONFLICT (topic, key) DO UPDATE
      SET at_offset = EXCLUDED.at_offset, epoch = EXCLUDED.epoch, expires = EXCLUDED.expires;
    END IF;
  END LOOP;

  -- All locks are held now: what another batch puts on one of these topics later gets higher numbers.
  SELECT array_agg(nextval('@seq@')) INTO seqs FROM generate_series(1, total);
  INSERT INTO @publication@ (stream, at_offset, seq, expires, topic, epoch, body)
  SELECT i.stream, i.at_offset, i.seq, i.expires, i.topic, i.epoch, i.body
  FROM unnest(streams, offsets, seqs, expiries, topics, epochs, bodies)
    AS i (stream, at_offset, seq, expires, topic, epoch, body)
  WHERE i.stream IS NOT NULL;
  INSERT INTO @passing@ (seq, topic, body)
  SELECT i.seq, i.topic, i.body
  FROM unnest(streams, seqs, topics, bodies, suppressed) AS i (stream, seq, topic, body, suppressed)
  WHERE i.stream IS NULL AND NOT i.suppressed;
END $hub$;
