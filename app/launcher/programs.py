"""The product's processes as data: what `make run` starts, in which order, with which variables."""

import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from app.launcher.processes import Program

#: Variables with the value they have in a product on one machine; what the environment says goes first.
DEFAULTS = {
    "WEB_HOST": "127.0.0.1",
    "WEB_PORT": "8080",
    "WEB_WORKERS": "1",
    "WEB_THREADS": "8",
    "HEADEND_HOST": "127.0.0.1",
    "HEADEND_PORT": "8645",
    "STREET_CONTROL": "127.0.0.1:8646",
    "SMS_URL": "http://127.0.0.1:8647",
}

#: Name and arguments of `tallyhouse` for every process but the web, in the order they start. `{…}` is a variable.
COMMANDS = (
    ("fake-sms", ("fake-sms", "--port", "{SMS_PORT}", "--report-url", "{WEB_URL}/webhooks/sms")),
    ("worker-money", ("worker", "money")),
    ("worker-commands", ("worker", "commands")),
    ("worker-default", ("worker", "default")),
    ("scheduler", ("scheduler",)),
    ("headend", ("headend",)),
    ("street", ("street",)),
)


def tallyhouse(*words: str) -> list[str]:
    """The operators' command, of the same virtual environment as we are."""
    return [str(Path(sys.executable).parent / "tallyhouse"), *words]


def web_argv(env: Mapping[str, str]) -> list[str]:
    """gunicorn with threads; it opens no control socket and recycles nothing by itself."""
    return [
        *(sys.executable, "-m", "gunicorn", "--worker-class", "gthread", "--no-control-socket"),
        *("--workers", env["WEB_WORKERS"], "--threads", env["WEB_THREADS"]),
        *("--bind", f"{env['WEB_HOST']}:{env['WEB_PORT']}"),
        *("--graceful-timeout", "5", "--worker-tmp-dir", "/dev/shm", "wsgi:app"),
    ]


def product_env(
    base: Mapping[str, str], stack: Mapping[str, str], secrets: Mapping[str, str], var: Path
) -> dict[str, str]:
    """Every variable of the product's processes: the environment first, then what was brought up or made."""
    files = {
        "CLOCK_FILE": str(var / "clock.json"),
        "EPOCH_FILE": str(var / "epoch.json"),
    }
    return {**DEFAULTS, **secrets, **files, **base, "VAR_DIR": str(var), **stack}


def web_url(env: Mapping[str, str]) -> str:
    """Where a browser on this machine finds the product: by name, because browsers make passkeys for names only."""
    host = "localhost" if env["WEB_HOST"] == "127.0.0.1" else env["WEB_HOST"]
    return f"http://{host}:{env['WEB_PORT']}"


def listeners(env: Mapping[str, str]) -> list[tuple[str, str, int]]:
    """(variable, host, port) of everything that listens; an SMS provider of somebody else is not ours to start."""
    street_host, _, street_port = env["STREET_CONTROL"].rpartition(":")
    found = [
        ("WEB_PORT", env["WEB_HOST"], int(env["WEB_PORT"])),
        ("HEADEND_PORT", env["HEADEND_HOST"], int(env["HEADEND_PORT"])),
        ("STREET_CONTROL", street_host, int(street_port)),
    ]
    sms = urlsplit(env["SMS_URL"])
    return [*found, ("SMS_URL", sms.hostname or "", sms.port or 80)] if _fake_sms(env) else found


def _fake_sms(env: Mapping[str, str]) -> bool:
    return urlsplit(env["SMS_URL"]).hostname == "127.0.0.1"


def programs(env: Mapping[str, str]) -> list[Program]:
    """The processes in the order they start; they end in reverse order."""
    words = {"SMS_PORT": urlsplit(env["SMS_URL"]).port, "WEB_URL": web_url(env)}
    table = [(name, arguments) for name, arguments in COMMANDS if name != "fake-sms" or _fake_sms(env)]
    others = [Program(name, tallyhouse(*(a.format(**words) for a in arguments)), env) for name, arguments in table]
    return [Program("web", web_argv(env), env), *others]
