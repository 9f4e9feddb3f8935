"""PostgreSQL and Valkey of our own, for real: started, joined, killed, found again, and never left behind."""

import os
import signal
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.launcher.binaries import find_postgres, system_postgres
from app.launcher.databases import create_database, drop_database, with_database, with_redis_db
from app.launcher.errors import NoPostgres, StackNotRunning
from app.launcher.home import find_home, make_home
from app.launcher.stack import attach, ensure_stack

#: What the documentation tells an administrator to run.
SCRIPT = Path(__file__).resolve().parents[2] / "tools/external_roles.sql"
#: Where the machine has no PostgreSQL of its own, the wheel is all there is to start.
WISHES = ["wheel", "system"] if system_postgres() else ["wheel"]


def rows(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def stranger(socket: Path) -> redis.Redis:
    """Somebody who knows the socket and not the password."""
    return redis.Redis(unix_socket_path=str(socket), retry=Retry(NoBackoff(), 0))


def postmaster(var_dir: Path) -> int:
    (file,) = find_home(var_dir).folder.glob("postgres-*/postmaster.pid")
    return int(file.read_text().split("\n")[0])


@pytest.mark.parametrize("wish", WISHES)
def test_data_outlive_a_stop_and_nothing_else_does(wish: str, var_dir: Path, await_end: Callable[[int], None]) -> None:
    env = {"TALLYHOUSE_POSTGRES": wish}
    with ensure_stack(var_dir, env=env) as stack:
        rows(stack.database_owner_url, "CREATE TABLE kept AS SELECT 7 AS n")
        redis.Redis.from_url(stack.redis_url).close()
        pid = postmaster(var_dir)
    await_end(pid)
    with ensure_stack(var_dir, env=env) as stack:
        assert rows(stack.database_owner_url, "SELECT n FROM kept") == [(7,)]


@pytest.mark.parametrize("wish", WISHES)
def test_the_server_is_durable_private_and_asks_everybody_for_a_password(wish: str, var_dir: Path) -> None:
    with ensure_stack(var_dir, env={"TALLYHOUSE_POSTGRES": wish}) as stack:
        shown = rows(
            stack.database_url,
            "SELECT name, setting FROM pg_settings WHERE name IN"
            " ('fsync', 'listen_addresses', 'synchronous_commit', 'unix_socket_permissions') ORDER BY name",
        )
        assert shown == [
            ("fsync", "on"),
            ("listen_addresses", ""),
            ("synchronous_commit", "on"),
            ("unix_socket_permissions", "0700"),
        ]
        rules = rows(str(stack.superuser_url), "SELECT DISTINCT auth_method FROM pg_hba_file_rules")
        assert rules == [("scram-sha-256",)]
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(stack.database_url.replace("tallyhouse_app:", "tallyhouse_app:x"))
        with pytest.raises(redis.AuthenticationError):
            stranger(find_home(var_dir).sockets / "valkey.sock").ping()


def test_the_roles_may_do_what_they_are_for_and_no_more(var_dir: Path) -> None:
    with ensure_stack(var_dir, env={}) as stack:
        found = rows(
            stack.database_url,
            "SELECT rolname, rolsuper, rolbypassrls, rolcreatedb FROM pg_roles"
            " WHERE rolname LIKE 'tallyhouse%' ORDER BY rolname",
        )
    assert found == [
        ("tallyhouse_app", False, False, False),
        ("tallyhouse_backup", False, True, False),
        ("tallyhouse_owner", False, False, True),
    ]


def test_a_database_is_cloned_and_dropped_with_whoever_is_connected(var_dir: Path) -> None:
    with ensure_stack(var_dir, env={}) as stack:
        template = create_database(stack.database_owner_url, "template_one")
        rows(template, "CREATE TABLE t AS SELECT 1 AS n")
        clone = create_database(stack.database_owner_url, "clone_one", template="template_one")
        assert rows(clone, "SELECT n FROM t") == [(1,)]
        lingering = psycopg.connect(with_database(stack.database_url, "clone_one"))
        drop_database(stack.database_owner_url, "clone_one")
        with pytest.raises(psycopg.OperationalError):
            lingering.execute("SELECT 1")
        lingering.close()


def test_each_worker_has_a_redis_database_of_its_own(var_dir: Path) -> None:
    with ensure_stack(var_dir, env={}) as stack:
        with redis.Redis.from_url(with_redis_db(stack.redis_url, 5)) as five:
            five.set("a", "5")
        with redis.Redis.from_url(with_redis_db(stack.redis_url, 6)) as six:
            assert six.get("a") is None


def test_a_second_one_joins_and_its_stop_ends_nothing(var_dir: Path) -> None:
    with pytest.raises(StackNotRunning, match="make run"):
        attach(var_dir, env={})
    with ensure_stack(var_dir, env={}) as first:
        second = ensure_stack(var_dir, env={})
        assert second.env() == first.env() == attach(var_dir, env={}).env()
        second.stop()
        assert rows(first.database_url, "SELECT 1") == [(1,)]
        assert first.dead() == []


def test_a_stale_pid_file_naming_somebody_else_is_no_obstacle(var_dir: Path, await_end: Callable[[int], None]) -> None:
    with ensure_stack(var_dir, env={}):
        pid_file = next(find_home(var_dir).folder.glob("postgres-*/postmaster.pid"))
        text = pid_file.read_text()
        pid = postmaster(var_dir)
    await_end(pid)
    pid_file.write_text(text.replace(str(pid), str(os.getpid()), 1))
    with ensure_stack(var_dir, env={}) as stack:
        assert rows(stack.database_url, "SELECT 1") == [(1,)]


LAUNCHER = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from app.launcher.stack import ensure_stack
    stack = ensure_stack(Path(sys.argv[1]), env={})
    print(*(child.pid for _, child, _ in stack.servers._running), flush=True)
    sys.stdin.read()
    """
)


def test_a_killed_launcher_leaves_no_server_behind(var_dir: Path, await_end: Callable[[int], None]) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(var_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as launcher:
        assert launcher.stdout is not None
        servers = [int(word) for word in launcher.stdout.readline().split()]
        launcher.send_signal(signal.SIGKILL)
    assert len(servers) == 2
    for pid in servers:
        await_end(pid)
    with ensure_stack(var_dir, env={}) as stack:
        assert rows(stack.database_url, "SELECT 1") == [(1,)]


def test_a_crashed_server_is_recovered_with_what_was_committed(var_dir: Path, await_end: Callable[[int], None]) -> None:
    with ensure_stack(var_dir, env={}) as stack:
        rows(stack.database_owner_url, "CREATE TABLE kept AS SELECT 7 AS n")
        pid = postmaster(var_dir)
        os.kill(pid, signal.SIGKILL)
        await_end(pid)
        assert stack.dead() == ["postgres"]
    with ensure_stack(var_dir, env={}) as stack:
        assert rows(stack.database_owner_url, "SELECT n FROM kept") == [(7,)]


def test_no_permission_outside_is_changed(closed_var_dir: Path) -> None:
    outside = [closed_var_dir.parent, *closed_var_dir.parent.parents, Path("/var/lib"), Path("/run")]
    before = [(path, stat.S_IMODE(path.stat().st_mode), path.stat().st_uid) for path in outside]
    users = Path("/etc/passwd").read_bytes()
    with ensure_stack(closed_var_dir, env={"TALLYHOUSE_POSTGRES": "wheel"}) as stack:
        assert rows(stack.database_url, "SELECT 1") == [(1,)]
    after = [(path, stat.S_IMODE(path.stat().st_mode), path.stat().st_uid) for path in outside]
    assert after == before
    assert Path("/etc/passwd").read_bytes() == users


def test_given_servers_are_used_and_nothing_is_started(var_dir: Path) -> None:
    given = {
        "DATABASE_URL": "postgresql://a@db/x",
        "DATABASE_OWNER_URL": "postgresql://b@db/x",
        "REDIS_URL": "redis://r/0",
    }
    with ensure_stack(var_dir, env=given) as stack:
        assert stack.env() == given
        assert stack.superuser_url is None
    assert not list(find_home(var_dir).folder.glob("postgres-*"))


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"DATABASE_URL": "postgresql://a@db/x"}, "set both"),
        ({"DATABASE_OWNER_URL": "postgresql://a@db/x"}, "set both"),
        ({"TALLYHOUSE_POSTGRES": "external"}, "needs DATABASE_URL"),
        ({"TALLYHOUSE_POSTGRES": "mysql"}, "say external, system or wheel"),
    ],
)
def test_a_half_said_wish_is_refused_with_its_cure(env: dict[str, str], said: str, var_dir: Path) -> None:
    with pytest.raises(NoPostgres, match=said):
        ensure_stack(var_dir, env=env)


def test_an_old_system_postgres_is_not_taken(var_dir: Path, tmp_path: Path) -> None:
    assert system_postgres(tmp_path) is None
    old = tmp_path / "13/bin"
    old.mkdir(parents=True)
    for name in ("initdb", "postgres"):
        (old / name).write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 13.9'\n")
        (old / name).chmod(0o755)
    assert system_postgres(tmp_path) is None
    assert find_postgres(make_home(var_dir), "wheel").major >= 15


def test_the_script_for_an_external_server_makes_the_same_roles(var_dir: Path) -> None:
    roles = "SELECT rolname, rolsuper, rolbypassrls, rolcreatedb FROM pg_roles WHERE rolname ~ '^tallyhouse' ORDER BY 1"
    members = (
        "SELECT r.rolname, m.rolname FROM pg_auth_members JOIN pg_roles r ON r.oid = roleid"
        " JOIN pg_roles m ON m.oid = member WHERE m.rolname ~ '^tallyhouse' ORDER BY 1, 2"
    )
    with ensure_stack(var_dir, env={"TALLYHOUSE_POSTGRES": "wheel"}) as stack:
        admin = with_database(str(stack.superuser_url), "postgres")
        ours = rows(admin, roles), rows(admin, members)
        rows(admin, "DROP DATABASE tallyhouse")
        for role in ("tallyhouse_owner", "tallyhouse_app", "tallyhouse_backup"):
            rows(admin, f"DROP ROLE {role}")
        psql = find_postgres(make_home(var_dir), "wheel").folder / "psql"
        words = [f"--set={name}_password={name}" for name in ("owner", "app", "backup")]
        subprocess.run(
            [psql, "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", *words, "--file", SCRIPT, admin], check=True
        )
        assert (rows(admin, roles), rows(admin, members)) == ours
        owner = stack.database_owner_url.partition("@")[2]
        create_database(f"postgresql://tallyhouse_owner:owner@{owner}", "another")
