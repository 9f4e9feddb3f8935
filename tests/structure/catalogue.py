"""What must hold for every table of the database, asked of PostgreSQL's own catalogue. Each rule lists what breaks it.

The rules do not know the models: they look at what is there, so a table made by hand, by a migration or by an
extension is judged like any other.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, text

TENANT = "(tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::integer)"

#: Tables without a tenant: name → why. The product's own list is compared with this one.
WITHOUT_TENANT = {
    "tenants": "found before any tenant is known",
    "directory": "from a digest to its tenant",
    "alembic_version": "written by migrations, granted to nobody",
}
#: Columns that may be numeric: prices, which nobody sums.
PRICES = {"price_versions.price"}

_IN_PUBLIC = "c.relnamespace = 'public'::regnamespace"
_OF_TENANT = f"{_IN_PUBLIC} AND c.relkind IN ('r', 'p') AND c.relname <> ALL(:free)"


@dataclass(frozen=True)
class Rule:
    """A query that returns what breaks the rule, one text per finding."""

    name: str
    sql: str


RULES = (
    Rule(
        "has tenant_id int NOT NULL",
        f"""
        SELECT c.relname FROM pg_class c WHERE {_OF_TENANT} AND NOT EXISTS (
            SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id'
               AND a.atttypid = 'int4'::regtype AND a.attnotnull)
        """,
    ),
    Rule(
        "has a primary key",
        f"""
        SELECT c.relname FROM pg_class c WHERE {_OF_TENANT} AND NOT EXISTS (
            SELECT FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'p')
        """,
    ),
    Rule(
        "every key and index leads with tenant_id",
        f"""
        SELECT c.relname || ' ' || i.indexrelid::regclass FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
          LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
         WHERE {_OF_TENANT} AND a.attname IS DISTINCT FROM 'tenant_id'
        """,
    ),
    Rule(
        "no exclusion constraint without tenant_id",
        f"""
        SELECT c.relname || ' ' || k.conname FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
          LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.conkey[1]
         WHERE {_OF_TENANT} AND k.contype = 'x' AND a.attname IS DISTINCT FROM 'tenant_id'
        """,
    ),
    Rule(
        "row-level security enabled and forced",
        f"SELECT c.relname FROM pg_class c WHERE {_OF_TENANT} AND NOT (c.relrowsecurity AND c.relforcerowsecurity)",
    ),
    Rule(
        "exactly one policy, for all commands and all roles, with USING and WITH CHECK on the tenant",
        f"""
        SELECT c.relname || ' ' || coalesce(string_agg(p.polname, ','), 'none')
          FROM pg_class c LEFT JOIN pg_policy p ON p.polrelid = c.oid
         WHERE {_OF_TENANT} GROUP BY c.oid, c.relname
        HAVING count(p.oid) <> 1 OR NOT bool_and(
               p.polcmd = '*' AND p.polpermissive AND p.polroles = '{{0}}'
           AND pg_get_expr(p.polqual, c.oid) = :tenant AND pg_get_expr(p.polwithcheck, c.oid) = :tenant)
        """,
    ),
    Rule(
        "foreign keys carry tenant_id on both sides and never cascade",
        f"""
        SELECT c.relname || ' ' || k.conname FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
          JOIN pg_attribute here ON here.attrelid = k.conrelid AND here.attnum = k.conkey[1]
          JOIN pg_attribute there ON there.attrelid = k.confrelid AND there.attnum = k.confkey[1]
         WHERE {_OF_TENANT} AND k.contype = 'f'
           AND (here.attname <> 'tenant_id' OR there.attname <> 'tenant_id'
                OR k.confdeltype NOT IN ('a', 'r') OR k.confupdtype NOT IN ('a', 'r'))
        """,
    ),
    Rule(
        "a tenant's table never points to a table without tenant",
        f"""
        SELECT c.relname || ' ' || k.conname FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
         WHERE {_OF_TENANT} AND k.contype = 'f' AND k.confrelid::regclass::text = ANY(:free)
        """,
    ),
    Rule(
        "no triggers and no rewrite rules",
        f"""
        SELECT c.relname || ' ' || t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
         WHERE {_IN_PUBLIC} AND NOT t.tgisinternal
         UNION ALL
        SELECT c.relname || ' ' || r.rulename FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
         WHERE {_IN_PUBLIC} AND c.relkind IN ('r', 'p')
        """,
    ),
    Rule(
        "no materialised and no foreign table",
        f"SELECT c.relname FROM pg_class c WHERE {_IN_PUBLIC} AND c.relkind IN ('m', 'f')",
    ),
    Rule(
        "views run as who asks",
        f"""
        SELECT c.relname FROM pg_class c WHERE {_IN_PUBLIC} AND c.relkind = 'v'
           AND NOT coalesce(c.reloptions, '{{}}') && '{{security_invoker=true,security_invoker=on,security_invoker=1}}'
        """,
    ),
    Rule(
        "no function runs as its owner",
        "SELECT p.proname FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace AND p.prosecdef",
    ),
    Rule(
        "whole numbers only, but for prices",
        f"""
        SELECT c.relname || '.' || a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
         WHERE {_IN_PUBLIC} AND c.relkind IN ('r', 'p', 'v') AND a.attnum > 0 AND NOT a.attisdropped
           AND a.atttypid IN ('float4'::regtype, 'float8'::regtype, 'numeric'::regtype, 'money'::regtype)
           AND c.relname || '.' || a.attname <> ALL(:prices)
        """,
    ),
    Rule(
        "instants carry their zone",
        f"""
        SELECT c.relname || '.' || a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
         WHERE {_IN_PUBLIC} AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND a.atttypid = 'timestamp'::regtype
        """,
    ),
    Rule(
        "indexed columns compare by a leakproof equality, or row-level security turns the index off",
        f"""
        SELECT c.relname || '.' || a.attname FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
          JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY(i.indkey)
          LEFT JOIN pg_opclass o ON o.opcdefault AND o.opcintype = CASE a.atttypid WHEN 'varchar'::regtype
                 THEN 'text'::regtype ELSE a.atttypid END AND o.opcmethod = (SELECT oid FROM pg_am WHERE amname = 'btree')
          LEFT JOIN pg_amop m ON m.amopfamily = o.opcfamily AND m.amopstrategy = 3
                AND m.amoplefttype = o.opcintype AND m.amoprighttype = o.opcintype
          LEFT JOIN pg_operator q ON q.oid = m.amopopr LEFT JOIN pg_proc f ON f.oid = q.oprcode
         WHERE {_OF_TENANT} AND NOT coalesce(f.proleakproof, false)
        """,
    ),
    Rule(
        "the runtime owns nothing and may not create",
        f"""
        SELECT c.relname FROM pg_class c WHERE {_IN_PUBLIC} AND pg_has_role(:runtime, c.relowner, 'MEMBER')
         UNION ALL
        SELECT 'schema public' WHERE has_schema_privilege(:runtime, 'public', 'CREATE')
        """,
    ),
    Rule(
        "the runtime is no superuser and bypasses nothing",
        "SELECT rolname FROM pg_roles WHERE rolname = :runtime AND (rolsuper OR rolbypassrls OR rolreplication)",
    ),
    Rule(
        "the runtime may never TRUNCATE, nor hang triggers or foreign keys on a table",
        f"""
        SELECT c.relname || ' ' || p FROM pg_class c, unnest('{{TRUNCATE,REFERENCES,TRIGGER}}'::text[]) p
         WHERE {_IN_PUBLIC} AND c.relkind IN ('r', 'p') AND has_table_privilege(:runtime, c.oid, p)
        """,
    ),
    Rule(
        "the runtime reaches partitions only through their parent",
        f"""
        SELECT c.relname || ' ' || p FROM pg_class c, unnest('{{SELECT,INSERT,UPDATE,DELETE}}'::text[]) p
         WHERE {_IN_PUBLIC} AND c.relispartition AND has_table_privilege(:runtime, c.oid, p)
        """,
    ),
    Rule(
        "nothing is granted to everybody",
        f"""
        SELECT c.relname || ' ' || acl.privilege_type FROM pg_class c, aclexplode(c.relacl) acl
         WHERE {_IN_PUBLIC} AND acl.grantee = 0
        """,
    ),
)


def findings(connection: Connection, *, runtime: str, rules: tuple[Rule, ...] = RULES) -> Mapping[str, list[str]]:
    """Rule name → what breaks it; rules without findings are left out."""
    facts = {"free": list(WITHOUT_TENANT), "prices": list(PRICES), "tenant": TENANT, "runtime": runtime}
    found = {}
    for rule in rules:
        used = {name: value for name, value in facts.items() if f":{name}" in rule.sql.replace("::", "")}
        found[rule.name] = sorted(connection.scalars(text(rule.sql), used))
    return {name: broken for name, broken in found.items() if broken}
