"""Words that must never be seen where they do not belong: in every text a person could have typed elsewhere.

`CANARY_P2_…` stands in the sibling property, `CANARY_T2_…` in the other tenant. A column counts as typed unless a CHECK
or a key binds it or it holds a code of the product's own, so a new column is covered without a word here.
"""

import re

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    Text,
    cast,
    create_engine,
    func,
    literal,
    text,
    true,
    update,
)
from sqlalchemy.engine import make_url

from tests.factories import every_table
from tests.factories.world import World
from tests.matrix.planting import placed, typed

SEEN = re.compile(r"CANARY_(?:P2|T2)_\w*")
OF_SIBLING, OF_OTHERS = "CANARY_P2_", "CANARY_T2_"


def mark_everything(owner_url: str, *, sibling: World, theirs: World) -> int:
    """Put the canaries where people type; returns how many columns carry one in the other tenant."""
    engine = create_engine(make_url(owner_url).set(drivername="postgresql+psycopg"))
    with engine.begin() as owner:
        owner.execute(text(f"SET LOCAL app.tenant_id TO '{int(sibling.tenant_id)}'"))
        for table in every_table.tenant_tables():
            here = placed(table, sibling.property_id)
            if here is not None:
                _mark(owner, table, OF_SIBLING, here)
    with engine.begin() as owner:
        owner.execute(text(f"SET LOCAL app.tenant_id TO '{int(theirs.tenant_id)}'"))
        marked = sum(_mark(owner, table, OF_OTHERS, true()) for table in every_table.tenant_tables())
        said = {"name": f"{OF_OTHERS}tenant", "id": theirs.tenant_id}
        owner.execute(text("UPDATE tenants SET name = :name WHERE id = :id"), said)
    engine.dispose()
    return marked


def leaked(said: str, *, sibling_too: bool) -> list[str]:
    """Canaries in a text that its reader must not see."""
    return sorted({word for word in SEEN.findall(said) if sibling_too or word.startswith(OF_OTHERS)})


def _mark(owner: Connection, table: Table, word: str, where: ColumnElement[bool]) -> int:
    columns = typed(table)
    number = cast(table.c.id, Text) if "id" in table.c else literal("0")
    for column in columns:
        length = getattr(column.type, "length", None) or 60
        said = func.left(literal(word).concat(number).concat(f"_{column.name}"), length)
        owner.execute(update(table).where(where).values({column.name: said}))
    return len(columns)
