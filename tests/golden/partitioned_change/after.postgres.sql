CREATE TABLE users (id bigint PRIMARY KEY);
CREATE TABLE events (id bigint NOT NULL, user_id bigint NOT NULL, kind text NOT NULL, fresh text NOT NULL, at date NOT NULL, slug text NOT NULL, note text,
 PRIMARY KEY (id, at, kind), CONSTRAINT events_slug CHECK (slug <> ''), CONSTRAINT events_user_fkey FOREIGN KEY (user_id) REFERENCES users (id)) PARTITION BY RANGE (at);
ALTER TABLE events ADD CONSTRAINT events_once UNIQUE (user_id, kind, at, id);
CREATE INDEX events_kind ON events (kind, user_id);
CREATE UNIQUE INDEX events_user_unique ON events (user_id, lower(kind), kind, id, at) INCLUDE (slug) WHERE id > 0;
CREATE TABLE events_2024 PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE events_2025 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01') PARTITION BY LIST (kind);
CREATE TABLE events_2025_a PARTITION OF events_2025 FOR VALUES IN ('a');
CREATE TABLE events_2025_rest PARTITION OF events_2025 DEFAULT;
CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
