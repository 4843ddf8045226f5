CREATE TABLE users (id bigint PRIMARY KEY);
CREATE TABLE events (id bigint NOT NULL, user_id bigint NOT NULL, code text NOT NULL, at date NOT NULL, PRIMARY KEY (id, at), CONSTRAINT events_code_key UNIQUE (code, at), CONSTRAINT events_code CHECK (length(code) < 100), CONSTRAINT events_user FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE) PARTITION BY RANGE (at);
CREATE INDEX events_user_id ON events (user_id);
CREATE TABLE events_2024 PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE notes (id bigint PRIMARY KEY, event_id bigint, event_at date, CONSTRAINT notes_event FOREIGN KEY (event_id, event_at) REFERENCES events (id, at));
CREATE INDEX notes_event_id ON notes (event_id, event_at);
