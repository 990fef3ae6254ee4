-- Where a node takes other nodes' commands, as address:port. A live node without one takes none: no wallet is at home
-- there.
ALTER TABLE nodes ADD COLUMN address text;
