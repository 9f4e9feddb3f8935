"""Every encrypted column of the database: where its ciphertexts say they live, and the digests made beside them.

A structural test compares this with the models, so that no column is forgotten when keys are changed.
"""

from collections.abc import Callable
from dataclasses import dataclass

from app.tenants.phones import last_four


@dataclass(frozen=True, slots=True)
class Digest:
    """A blind index beside an encrypted column: its column, its kind, and what of the value it is made of."""

    column: str
    kind: str
    part: Callable[[str], str]


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """A column of ciphertexts. All of these tables have `id` and `public_id`; the latter names the row."""

    table: str
    column: str
    #: What the ciphertext calls its column.
    said: str
    digests: tuple[Digest, ...] = ()


def _whole(value: str) -> str:
    return value


SEALED_COLUMNS = (
    SealedColumn("meters", "password_cipher", "password_cipher"),
    SealedColumn("oidc_providers", "client_secret_cipher", "client_secret"),
    SealedColumn("parties", "bank_account_cipher", "bank_account"),
    SealedColumn("parties", "id_number_cipher", "id_number", (Digest("id_number_blind", "id_number", _whole),)),
    SealedColumn(
        "parties",
        "phone_cipher",
        "phone",
        (Digest("phone_blind", "phone", _whole), Digest("phone_last4_blind", "phone_last4", last_four)),
    ),
    SealedColumn("user_factors", "secret_cipher", "secret_cipher"),
    SealedColumn("users", "phone_cipher", "phone_cipher"),
    SealedColumn("webhook_endpoints", "secret_cipher", "secret_cipher"),
    SealedColumn("webhook_endpoints", "secret_old_cipher", "secret_old_cipher"),
)
