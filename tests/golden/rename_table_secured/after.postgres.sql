CREATE TABLE customers (id bigint CONSTRAINT clients_pkey PRIMARY KEY, tenant text NOT NULL);
ALTER TABLE customers ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON customers USING (tenant = current_setting('app.tenant', true));
