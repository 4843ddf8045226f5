CREATE TABLE booking (id bigint PRIMARY KEY, room int4range NOT NULL, during tsrange NOT NULL,
    CONSTRAINT once EXCLUDE USING gist (during WITH &&));
