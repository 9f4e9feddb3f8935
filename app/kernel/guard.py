"""What a process refuses to start with: a database role that row-level security does not bind.

Row-level security is the last wall between tenants. A superuser, a role with BYPASSRLS or an owner of the
tables walks through it without a word, so the product looks before it serves the first request.
"""

from sqlalchemy import Connection, Engine, text

from app.kernel.errors import StartRefused

#: The only tables without a tenant policy, each with its reason; the structural tests compare this with the catalogue.
SHARED_TABLES = {
    "tenants": "the list of tenants itself: found before any tenant is known, holds no personal data",
    "directory": "digest to tenant: sign-in, tokens, gateways and payment notices find theirs here",
}
#: Written by the migrations and readable by nobody else.
MIGRATION_TABLES = frozenset({"alembic_version"})

_ROLE = "SELECT rolname, rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user"
_OWNED = """
    SELECT relname FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')
      AND pg_has_role(current_user, relowner, 'USAGE') ORDER BY relname
"""
_UNFORCED = """
    SELECT relname FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
      AND NOT (relrowsecurity AND relforcerowsecurity) ORDER BY relname
"""
_TRUNCATABLE = """
    SELECT relname FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
      AND has_table_privilege(oid, 'TRUNCATE') ORDER BY relname
"""


class RuntimeUnsafe(StartRefused):
    """The role of DATABASE_URL could pass between tenants."""


def refuse_unsafe_runtime(engine: Engine) -> None:
    """Raise RuntimeUnsafe unless row-level security binds this process."""
    with engine.connect() as connection:
        _refuse_mighty_role(connection)
        _refuse_owner(connection)
        _refuse_open_tables(connection)
    # A process that forks must not hand this connection to its children.
    engine.dispose()


def _refuse_mighty_role(connection: Connection) -> None:
    name, is_super, bypasses = connection.execute(text(_ROLE)).one()
    if is_super:
        raise RuntimeUnsafe(
            f"{name} is a superuser: point DATABASE_URL at a role made by "
            "CREATE ROLE tallyhouse_app LOGIN NOSUPERUSER NOBYPASSRLS"
        )
    if bypasses:
        raise RuntimeUnsafe(f"{name} bypasses row-level security: ALTER ROLE {name} NOBYPASSRLS")


def _refuse_owner(connection: Connection) -> None:
    owned = list(connection.scalars(text(_OWNED)))
    if owned:
        raise RuntimeUnsafe(
            f"the role of DATABASE_URL owns {owned[0]}: run the migrations as another role (DATABASE_OWNER_URL)"
            " and REASSIGN OWNED BY the runtime role TO that owner"
        )


def _refuse_open_tables(connection: Connection) -> None:
    known = MIGRATION_TABLES.union(SHARED_TABLES)
    unforced = [name for name in connection.scalars(text(_UNFORCED)) if name not in known]
    if unforced:
        raise RuntimeUnsafe(
            f"{unforced[0]} is not under forced row-level security: migrate it with migrations.rls.protect"
        )
    truncatable = list(connection.scalars(text(_TRUNCATABLE)))
    if truncatable:
        raise RuntimeUnsafe(f"the role of DATABASE_URL may TRUNCATE {truncatable[0]}: REVOKE TRUNCATE from it")
