-- For applications: publishes when, and only when, the transaction that calls it commits.
-- It waits for nobody and nobody waits for it: the position is given by a node, right after the commit.
CREATE FUNCTION @app_publish@(
  topic text, payload jsonb, tags jsonb DEFAULT NULL, idempotency_key text DEFAULT '', version bigint DEFAULT 0,
  version_epoch text DEFAULT ''
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = @in_schema@, pg_temp AS $hub$
BEGIN
  IF topic IS NULL OR topic = '' OR octet_length(topic) > 255 THEN
    RAISE EXCEPTION 'a topic has 1 to 255 bytes' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  IF payload IS NULL OR octet_length(payload::text) > 1000000 THEN
    RAISE EXCEPTION 'a payload is JSON of at most 1000000 bytes' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  IF tags IS NOT NULL AND (jsonb_typeof(tags) <> 'object'
      OR EXISTS (SELECT FROM jsonb_each(tags) WHERE jsonb_typeof(value) <> 'string')) THEN
    RAISE EXCEPTION 'tags are an object of strings' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  INSERT INTO @outbox@ (topic, payload, tags, idempotency_key, version, version_epoch)
  VALUES (@app_publish@.topic, @app_publish@.payload::text, @app_publish@.tags::text,
          coalesce(@app_publish@.idempotency_key, ''), coalesce(@app_publish@.version, 0),
          coalesce(@app_publish@.version_epoch, ''));
END $hub$;
REVOKE ALL ON FUNCTION @app_publish@ FROM PUBLIC;

-- Rings when the transaction is about to commit. NOTIFY makes commits wait for one another in the whole server; hence
-- only one at a time rings, and the node that hears it looks again and again for those that could not.
CREATE FUNCTION @ring@() RETURNS trigger LANGUAGE plpgsql AS $hub$
BEGIN
  IF pg_try_advisory_xact_lock(@ring_lock@) THEN
    PERFORM pg_notify(@outbox_channel@, '');
  END IF;
  RETURN NULL;
END $hub$;
CREATE CONSTRAINT TRIGGER ring AFTER INSERT ON @outbox@ DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION @ring@();
