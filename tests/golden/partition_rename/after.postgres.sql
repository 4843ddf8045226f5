CREATE TABLE users (id bigint PRIMARY KEY);
CREATE TABLE happenings (id bigint NOT NULL, user_id bigint NOT NULL, kind text NOT NULL, old text NOT NULL, day date NOT NULL, CONSTRAINT events_pkey PRIMARY KEY (id, day, kind)) PARTITION BY RANGE (day);
CREATE INDEX events_kind ON happenings (kind);
CREATE TABLE happenings_2024 PARTITION OF happenings FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE events_2025 PARTITION OF happenings FOR VALUES FROM ('2025-01-01') TO ('2026-01-01') PARTITION BY LIST (kind);
CREATE TABLE events_2025_a PARTITION OF events_2025 FOR VALUES IN ('a');
CREATE TABLE events_2025_rest PARTITION OF events_2025 DEFAULT;
