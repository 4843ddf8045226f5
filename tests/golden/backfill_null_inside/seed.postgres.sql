INSERT INTO t (id, period, tags, extra, code) VALUES (1, '[3,5)', '{a}', '{b}', 'A'), (2, '(,5)', '{a}', NULL, NULL), (3, 'empty', '{}', NULL, 'C');
