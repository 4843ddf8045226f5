INSERT INTO orders_archive_for_reporting VALUES (1, 'here'), (2, 'there');
