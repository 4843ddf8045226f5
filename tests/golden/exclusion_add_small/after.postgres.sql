CREATE TABLE booking (id bigint PRIMARY KEY, room int4range NOT NULL, during tsrange NOT NULL,
    CONSTRAINT once EXCLUDE USING gist (during WITH &&, room WITH &&),
    CONSTRAINT alone EXCLUDE USING gist (room WITH =) WHERE (id > 10));
COMMENT ON CONSTRAINT alone ON booking IS 'one booking a room';
