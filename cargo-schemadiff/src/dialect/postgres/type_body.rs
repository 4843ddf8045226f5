//! What a composite or a range type consists of, as the server's catalogue says it: expressions of SQL, for whoever reads a schema and
//! for whoever copies a database's types.

/// What stands behind `CREATE TYPE name AS` for a composite type; `c` is its row of `pg_class`.
pub(super) const COMPOSITE: &str =
    "'(' || coalesce((SELECT string_agg(quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod)
       || coalesce(' COLLATE ' || (SELECT l.oid::regcollation FROM pg_collation l
         WHERE l.oid = a.attcollation AND l.oid <> (SELECT y.typcollation FROM pg_type y WHERE y.oid = a.atttypid)), ''), ', '
       ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '') || ')'";

/// The same for a range type; `r` is its row of `pg_range`.
pub(super) const RANGE: &str = "'RANGE (SUBTYPE = ' || format_type(r.rngsubtype, NULL)
       || coalesce((SELECT ', SUBTYPE_OPCLASS = ' || quote_ident(s.nspname) || '.' || quote_ident(o.opcname)
            FROM pg_opclass o JOIN pg_namespace s ON s.oid = o.opcnamespace WHERE o.oid = r.rngsubopc AND NOT o.opcdefault), '')
       || coalesce((SELECT ', COLLATION = ' || r.rngcollation::regcollation
            FROM pg_type b WHERE b.oid = r.rngsubtype AND r.rngcollation NOT IN (0, b.typcollation)), '')
       || CASE WHEN r.rngcanonical <> 0 THEN ', CANONICAL = ' || r.rngcanonical ELSE '' END
       || CASE WHEN r.rngsubdiff <> 0 THEN ', SUBTYPE_DIFF = ' || r.rngsubdiff ELSE '' END || ')'";
