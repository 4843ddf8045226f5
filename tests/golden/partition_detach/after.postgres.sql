CREATE TABLE users (id bigint PRIMARY KEY);
CREATE TABLE events (id bigint NOT NULL, user_id bigint NOT NULL, kind text NOT NULL, old text NOT NULL, at date NOT NULL, PRIMARY KEY (id, at, kind)) PARTITION BY RANGE (at);
CREATE INDEX events_kind ON events (kind);
CREATE TABLE events_2024 (id bigint NOT NULL, user_id bigint NOT NULL, kind text NOT NULL, old text NOT NULL, at date NOT NULL, PRIMARY KEY (id, at, kind));
CREATE INDEX events_2024_kind_idx ON events_2024 (kind);
CREATE INDEX events_2024_only ON events_2024 (old);
