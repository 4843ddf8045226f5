CREATE TABLE clients (id bigint PRIMARY KEY, tenant text NOT NULL);
ALTER TABLE clients ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON clients USING (tenant = current_setting('app.tenant', true));
