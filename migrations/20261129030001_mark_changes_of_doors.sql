-- Doors look up several times a second which of the keys in use still hold. One mark tells them that nothing has changed:
-- the transaction that changes what a door goes by draws another. No count, since a crash of the server may take back
-- what the read models have not synced, and a count would then come to the same number by another way.
CREATE TABLE door_changes (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    mark uuid NOT NULL
);
INSERT INTO door_changes (mark) VALUES (gen_random_uuid());

-- Networks change without an event, and are erased by hand.
CREATE FUNCTION mark_door_change() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    UPDATE door_changes SET mark = gen_random_uuid();
    RETURN NULL;
END
$$;
CREATE TRIGGER key_networks_marked AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON key_networks
    FOR EACH STATEMENT EXECUTE FUNCTION mark_door_change();
