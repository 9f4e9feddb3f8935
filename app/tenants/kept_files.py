"""Files people uploaded, kept for an hour between the check and the import, or for as long as a request waits.

    <var>/uploads/<tenant>/<person>/<digest>    0600 in folders of 0700, sealed with the tenant's data key

They hold names, phones and ID numbers, so they are as unreadable on the disk as those are in the database.
"""

import base64
import hashlib
import os
import re
from datetime import datetime
from pathlib import Path

from sqlalchemy.orm import Session

from app.kernel.clock import wall_us
from app.kernel.crypto import CipherBroken, FieldPlace
from app.kernel.db import current_tenant_id
from app.tenants.keys import data_key, place

KEPT_S = 3_600
#: A held file outlives its request a little: a request is never carried out without its file.
HELD_LONGER_S = 600
_DIGEST = re.compile(r"[0-9a-f]{64}")
_FOLDER = "uploads"


def keep_file(session: Session, *, var: Path, user_id: int, content: bytes) -> str:
    """Keep a file for this person and return its digest; files older than an hour go, whosever they are."""
    sweep_files(var)
    digest = hashlib.sha256(content).hexdigest()
    sealed = data_key(session).encrypt(base64.b64encode(content).decode(), _place(user_id, digest))
    path = _folder(var, user_id) / digest
    if path.exists() and path.stat().st_mtime > wall_us() / 1_000_000:
        return digest  # held for a request: the same file looked at again goes no sooner
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        os.fchmod(handle, 0o600)
        file.write(sealed)
    return digest


def kept_file(session: Session, *, var: Path, user_id: int, digest: str) -> bytes | None:
    """What this person kept under the digest; None when there is nothing, or nothing that opens."""
    if not _DIGEST.fullmatch(digest):
        return None
    try:
        sealed = (_folder(var, user_id) / digest).read_bytes()
        return base64.b64decode(data_key(session).decrypt(sealed, _place(user_id, digest)))
    except (FileNotFoundError, CipherBroken):
        return None


def hold_file(*, var: Path, user_id: int, digest: str, until: datetime) -> None:
    """Keep what this person kept under the digest until an instant (wall), because a request waits for it.

    The sweep goes by the file's time, so that is set ahead.
    """
    path = _folder(var, user_id) / digest
    if _DIGEST.fullmatch(digest) and path.exists():
        ahead = until.timestamp() - KEPT_S + HELD_LONGER_S
        os.utime(path, (ahead, max(ahead, path.stat().st_mtime)))


def drop_file(*, var: Path, user_id: int, content: bytes) -> None:
    """Delete a kept file: it was imported."""
    (_folder(var, user_id) / hashlib.sha256(content).hexdigest()).unlink(missing_ok=True)


def sweep_files(var: Path) -> None:
    """Delete every kept file older than an hour, of all tenants and persons."""
    for path in (var / _FOLDER).glob("*/*/*"):
        try:
            if wall_us() / 1_000_000 - path.stat().st_mtime > KEPT_S:
                path.unlink(missing_ok=True)
        except FileNotFoundError:
            continue  # somebody else swept it in this moment


def _place(user_id: int, digest: str) -> FieldPlace:
    return place(table=_FOLDER, column="content", row=f"{user_id}/{digest}")


def _folder(var: Path, user_id: int) -> Path:
    """A folder of this person of this tenant: nobody imports what somebody else checked."""
    folder = var
    var.mkdir(parents=True, exist_ok=True)
    for name in (_FOLDER, str(current_tenant_id()), str(user_id)):
        folder /= name
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)
    return folder
