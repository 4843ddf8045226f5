CREATE TABLE events (kind TEXT NOT NULL, note TEXT, label TEXT NOT NULL);
