"""Databases of a running server, and addresses of them."""

from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql


def with_database(url: str, name: str) -> str:
    """The same server and role, another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def with_redis_db(url: str, number: int) -> str:
    """The same Redis, another of its numbered databases."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return urlunsplit(parts._replace(query=f"db={number}"))
    return urlunsplit(parts._replace(path=f"/{number}"))


def create_database(owner_url: str, name: str, *, template: str | None = None) -> str:
    """Make a database, as a copy of another where one is named (nobody may be connected to that one).

    Returns the owner's address of it. Raises psycopg.errors.DuplicateDatabase, ObjectInUse.
    """
    statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
    if template is not None:
        statement += sql.SQL(" TEMPLATE {}").format(sql.Identifier(template))
    with psycopg.connect(owner_url, autocommit=True) as connection:
        connection.execute(statement)
    return with_database(owner_url, name)


def drop_database(owner_url: str, name: str) -> None:
    """Drop a database if it is there, ending whoever is connected to it."""
    statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
    with psycopg.connect(owner_url, autocommit=True) as connection:
        connection.execute(statement)
