CREATE TABLE users (id BIGINT NOT NULL PRIMARY KEY, email TEXT NOT NULL, token uuid NOT NULL DEFAULT gen_random_uuid());
