"""Whether this process can do its work: asked by the container and by whoever balances load."""

from flask.typing import ResponseReturnValue
from sqlalchemy import text

from app.kernel.db import database
from app.web.console.blueprint import console
from app.web.guards import public


@console.get("/healthz")
@public
def health() -> ResponseReturnValue:
    """200 with the database reached; anything else means: send nobody here."""
    with database().without_tenant() as connection:
        connection.execute(text("SELECT 1"))
    return {"status": "ok"}
