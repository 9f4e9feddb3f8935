"""Every variable the product reads: its type, its default, one line why. Nothing else reads the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any


class SettingMissing(Exception):
    """A variable without a default is not set; the message names it and says how to get it."""


def _setting(why: str, default: str | None = None) -> Any:
    return field(default=default, metadata={"why": why})


@dataclass(frozen=True, slots=True)
class Settings:
    """The environment, read once. Field names in capitals are the variables' names."""

    database_url: str = _setting("PostgreSQL as the runtime role (owns nothing, no BYPASSRLS)")
    database_owner_url: str = _setting("PostgreSQL as the owner: migrations and partitions only", "")
    redis_url: str = _setting("Redis or Valkey: queues, hints, rate limits; may be emptied at any time")
    database_pooler: str = _setting("'transaction' behind PgBouncer: prepared statements are then never used", "")
    database_pool_max: str = _setting("connections kept by one process", "10")
    secret_key: str = _setting("signs CSRF tokens; at least 32 random characters")
    key_provider: str = _setting("who wraps the data keys: environment, file or pkcs11", "environment")
    key_encryption_key: str = _setting("64 hex digits: wraps every tenant's data key; keep it apart from backups", "")
    key_encryption_file: str = _setting("file of mode 0600 with such a key instead", "")
    key_encryption_keys_old: str = _setting("earlier key-encryption keys, by commas: they only open", "")
    kek_pkcs11_module: str = _setting("path of a PKCS#11 module that keeps the key-encryption key", "")
    kek_pkcs11_token: str = _setting("label of its token", "")
    kek_pkcs11_key: str = _setting("label of the AES-256 key in the token", "")
    kek_pkcs11_keys_old: str = _setting("labels of earlier keys in the token, by commas: they only open", "")
    kek_pkcs11_pin_file: str = _setting("file of mode 0600 with the token's PIN", "")
    kek_cache_s: str = _setting("seconds an opened data key stays in memory", "60")
    audit_key: str = _setting("64 hex digits: makes the audit log's hashes; never in the database or its backups")
    audit_keys_old: str = _setting("earlier values of AUDIT_KEY, newest first, by commas: they only verify", "")
    anchor_dir: str = _setting("folder outside the database for the heads of sealed chains; empty: below VAR_DIR", "")
    clock_file: str = _setting("demo only: the file of the movable business clock", "")
    web_host: str = _setting("address the web server listens on", "127.0.0.1")
    web_port: str = _setting("port the web server listens on", "8080")
    public_url: str = _setting("address of the console as people type it; empty: http://localhost:WEB_PORT", "")
    web_workers: str = _setting("gunicorn worker processes", "1")
    web_threads: str = _setting("threads in each web worker", "8")
    trusted_hosts: str = _setting("comma-separated host names the web answers to; empty: loopback names only", "")
    trusted_proxies: str = _setting(
        "how many proxies in front add X-Forwarded-For; exactly that many are believed", "0"
    )
    limit_tenant: str = _setting(
        "requests of one group, all its people and tokens together; empty: no limit", "12000/minute"
    )
    limit_user: str = _setting("requests of one person", "1200/minute")
    limit_token: str = _setting("requests of one API token", "1200/minute")
    limit_address: str = _setting(
        "requests of one address that nobody signed in from or no token came with", "1200/minute"
    )
    limit_sign_in: str = _setting("attempts to sign in, steps and password links, of one address", "120/minute")
    limit_export: str = _setting("exports of one person", "120/hour")
    limit_unmask: str = _setting("numbers of customers one person makes readable", "200/hour")
    tls: str = _setting("'1' when served behind TLS: cookies become __Host- and Secure, HSTS is sent", "")
    headend_host: str = _setting("address gateways dial in to", "127.0.0.1")
    headend_port: str = _setting("port gateways dial in to", "8645")
    headend_poll_s: str = _setting("business seconds between two polls of a mains meter", "3600")
    headend_name: str = _setting("name of this head-end in its leases; empty: host name and process id", "")
    street_control: str = _setting("demo only: host:port of the simulated street's control socket", "")
    sms_url: str = _setting("base URL of the SMS provider; empty: notices wait, marked undeliverable", "")
    sms_secret: str = _setting("signs requests to and reports from the SMS provider", "")
    webhooks_to_loopback: str = _setting("demo and tests only: '1' lets webhooks go to this machine itself", "")
    epoch_file: str = _setting("file outside the database with the command epoch (raised after a restore)", "")
    var_dir: str = _setting("folder for generated files: receipts, exports, logs", "var")
    log_level: str = _setting("lowest level written to the log", "INFO")

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> "Settings":
        """Read the environment. Raises SettingMissing naming the first variable that has no default."""
        source = os.environ if env is None else env
        values = {f.name: source.get(f.name.upper(), f.default) for f in fields(cls)}
        missing = [name.upper() for name, value in values.items() if value is None]
        if missing:
            raise SettingMissing(f"{missing[0]} is not set: `make run` sets it by itself; see docs/settings.md")
        return cls(**values)  # type: ignore[arg-type]

    @property
    def anchor_path(self) -> Path:
        """The folder of the anchors."""
        return Path(self.anchor_dir) if self.anchor_dir else self.var_path / "anchors"

    @property
    def public_address(self) -> str:
        """Scheme, host and port of every link that leaves the console, without a slash at its end."""
        # A name and not a number: browsers make passkeys for names only, and `localhost` is one.
        return (self.public_url or f"http://localhost:{self.web_port}").rstrip("/")

    @property
    def var_path(self) -> Path:
        """The folder for generated files."""
        return Path(self.var_dir)
