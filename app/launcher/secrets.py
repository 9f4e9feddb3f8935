"""Secrets of a product that runs on one machine: made once, kept beside its data."""

from pathlib import Path

from app.launcher.home import kept_secrets, make_home

#: Variable → length in bytes. Without KEY_ENCRYPTION_KEY the personal data cannot be read any more, without AUDIT_KEY
#: no seal can be verified.
LENGTHS = {"SECRET_KEY": 32, "KEY_ENCRYPTION_KEY": 32, "AUDIT_KEY": 32, "SMS_SECRET": 32}


def product_secrets(var_dir: Path) -> dict[str, str]:
    """The secrets as variables, made on the first call."""
    return kept_secrets(make_home(var_dir).folder / "secrets.json", LENGTHS)
