CREATE TABLE a (id bigint NOT NULL, at date NOT NULL) PARTITION BY RANGE (at);
CREATE TABLE a_1 PARTITION OF a FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE a_with_a_name_that_is_as_long_as_a_name_can_be_on_the_server_1 PARTITION OF a FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE a_with_a_name_that_is_as_long_as_a_name_can_be_on_the_server_2 PARTITION OF a FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE b (id bigint PRIMARY KEY, n integer) PARTITION BY HASH (id);
CREATE TABLE b_1 PARTITION OF b FOR VALUES WITH (MODULUS 1, REMAINDER 0);
