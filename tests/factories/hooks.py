"""Starting a receiver of webhooks and talking to it."""

import datetime as dt
import json
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Hook:
    """A receiver that runs: its address, what it heard, how it answers."""

    port: int
    scheme: str = "http"

    @property
    def url(self) -> str:
        """Where to tell it."""
        return f"{self.scheme}://localhost:{self.port}/hook"

    def set(self, **knobs: object) -> None:
        """Answer like this from now on."""
        request = urllib.request.Request(self._at("/control"), data=json.dumps(knobs).encode(), method="POST")
        urllib.request.urlopen(request, timeout=30, context=self._tls()).read()

    def seen(self) -> list[dict[str, Any]]:
        """What it heard, oldest first."""
        with urllib.request.urlopen(self._at("/seen"), timeout=30, context=self._tls()) as answer:
            found: list[dict[str, Any]] = json.loads(answer.read())
        return found

    def _at(self, path: str) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}{path}"

    def _tls(self) -> Any:
        if self.scheme == "http":
            return None
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context


@contextmanager
def receiver(certificate: Path | None = None) -> Iterator[Hook]:
    """A receiver in a process of its own."""
    argv = [sys.executable, "-m", "tests.factories.receiver", *([str(certificate)] if certificate else [])]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            yield Hook(int(child.stdout.readline()), "https" if certificate else "http")
        finally:
            child.kill()


def self_signed(folder: Path, name: str) -> Path:
    """A certificate with its key for one name, in one file; it is its own authority."""
    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / f"{name}.pem"
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path
