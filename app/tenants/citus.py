"""The script that spreads the schema over a cluster (PostgreSQL + Citus), generated from the tables themselves.

Because the tenant leads every key, nothing has to change: the two tables without a tenant policy become reference tables,
all others are distributed by `tenant_id` and lie together, so that every join and foreign key stays on one node. It is
run once, on an empty schema, right after the migrations. New tenants are made through the coordinator.
"""

from collections.abc import Iterable

from sqlalchemy import MetaData, Table

from app.kernel.guard import SHARED_TABLES

_HEAD = """\
-- Distributes the schema over the nodes of a Citus cluster. Run as the owner of the tables, once, while they are empty:
--   CREATE EXTENSION citus, add the nodes (citus_add_node), run the migrations, then this script.
"""


def citus_sql(metadata: MetaData) -> str:
    """The distribution script: reference tables first, then every tenant's table after those its keys point to."""
    shared = [table for table in metadata.sorted_tables if table.name in SHARED_TABLES]
    spread = [table for table in metadata.sorted_tables if table.name not in SHARED_TABLES]
    return "\n".join([_HEAD, *_reference(shared), "", *_distributed(spread)]) + "\n"


def _reference(tables: Iterable[Table]) -> list[str]:
    return [f"SELECT create_reference_table('{table.name}');" for table in tables]


def _distributed(tables: list[Table]) -> list[str]:
    """The first table founds the group; the others join it, so that rows of one tenant share a node."""
    founder = tables[0].name
    lines = [f"SELECT create_distributed_table('{founder}', 'tenant_id', colocate_with => 'none');"]
    for table in tables[1:]:
        lines.append(f"SELECT create_distributed_table('{table.name}', 'tenant_id', colocate_with => '{founder}');")
    return lines
