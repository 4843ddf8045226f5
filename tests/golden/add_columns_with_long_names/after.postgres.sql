CREATE TABLE orders_archive_for_reporting (
    id integer PRIMARY KEY,
    place text NOT NULL,
    customer_billing_address_country_code_a uuid NOT NULL DEFAULT gen_random_uuid(),
    customer_billing_address_country_code_b uuid NOT NULL DEFAULT gen_random_uuid(),
    CONSTRAINT orders_archive_for_reporting_place_not_null_check CHECK (length(place) < 100)
);
