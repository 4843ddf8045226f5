CREATE TABLE items (id bigint PRIMARY KEY, qty integer NOT NULL DEFAULT 1 UNIQUE CHECK (qty > 0), note text);
CREATE INDEX items_qty_idx ON items (qty) WHERE note IS NOT NULL;
