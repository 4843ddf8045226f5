SELECT f(k) = 'a' AND has_type_privilege('pg_monitor', 'k', 'USAGE') AND (SELECT NOT EXISTS (SELECT FROM pg_type p, aclexplode(p.typacl) a WHERE p.oid = 'k'::regtype AND a.grantee = 0)) FROM t;
