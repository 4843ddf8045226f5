CREATE TYPE state AS ENUM ('open', 'held', 'cancelled');
CREATE TABLE booking (id bigint PRIMARY KEY, state state NOT NULL, during tsrange NOT NULL,
    CONSTRAINT once EXCLUDE USING gist (during WITH &&) WHERE (state <> 'cancelled'));
COMMENT ON CONSTRAINT once ON booking IS 'unless it is off';
