CREATE TABLE rates (region TEXT NOT NULL, code TEXT NOT NULL, alias TEXT, old INTEGER NOT NULL);
CREATE UNIQUE INDEX rates_a_alias ON rates (alias);
CREATE UNIQUE INDEX rates_b_expression ON rates (lower(code), region);
CREATE UNIQUE INDEX rates_c_partial ON rates (code) WHERE old = 0;
CREATE UNIQUE INDEX rates_d_key ON rates (region, code);
