SELECT (SELECT n FROM counted) = 2 AND (SELECT string_agg(display_name, ',' ORDER BY id) FROM known) = 'Ada,Grace'
