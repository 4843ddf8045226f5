CREATE TABLE orders_archive_for_reporting (
    id integer PRIMARY KEY,
    place text,
    CONSTRAINT orders_archive_for_reporting_place_not_null_check CHECK (length(place) < 100)
);
