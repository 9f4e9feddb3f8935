"""One box that understands room, name, account number, meter number and phone. Answers are supply accounts."""

import re
from collections.abc import Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Row
from sqlalchemy.orm import Session

from app.billing.wallets import AVAILABLE_FEN

ANSWERS_MAX = 12
#: A single letter or digit ends too many rooms.
TAIL_LETTERS_MIN = 2


def find_accounts(
    session: Session,
    *,
    tenant_id: int,
    property_ids: list[int],
    words: str,
    phone_blinds: Sequence[bytes] = (),
    last4_blinds: Sequence[bytes] = (),
) -> Sequence[Row[Any]]:
    """Supply accounts that match, best first. The caller digests phone numbers: this module holds no keys.

    A room is matched by its beginning or its end, whatever its case and hyphens: `a0202`, `0202` and `202` all mean A-0202,
    and rooms come first. A phone is matched whole or by its last four digits through the blind indexes; everything else by
    its beginning.
    """
    wanted = words.strip()
    if not wanted:
        return []
    given = {
        "tenant": tenant_id, "properties": property_ids, "exact": wanted, "prefix": _escaped(wanted) + "%",
        "phones": list(phone_blinds), "last4s": list(last4_blinds), "most": ANSWERS_MAX, **_room(wanted),
    }  # fmt: skip
    return session.execute(_FIND, given).all()


def looks_like_phone(words: str) -> bool:
    """Whether the words are a mobile number or its last four digits."""
    return re.fullmatch(r"1\d{10}|\d{4}", re.sub(r"[\s\-]", "", words)) is not None


def _room(words: str) -> dict[str, str | None]:
    """What a room's plain name must be, begin with or end with; None matches nothing."""
    plain = re.sub(r"[\s\-]", "", words).lower()
    return {
        "room": plain or None,
        "room_bare": plain.lstrip("0") or None,
        "room_start": _escaped(plain) + "%" if plain else None,
        "room_end": "%" + _escaped(plain) if len(plain) >= TAIL_LETTERS_MIN else None,
    }


def _escaped(words: str) -> str:
    return words.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


# Each arm is bound by tenant and property, so that the box answers while one types: the index of rooms begins with both.
_FIND = text(f"""
    WITH hits AS (
        (SELECT sa.id, CASE WHEN s.plain = :room THEN -3 WHEN regexp_replace(s.plain, '^[^0-9]*0*', '') = :room_bare THEN -2
                            WHEN s.plain LIKE :room_start THEN -1 ELSE 0 END AS rank
           FROM (SELECT id, tenant_id, name, regexp_replace(lower(name), '[[:space:]-]', '', 'g') AS plain FROM spaces
                  WHERE tenant_id = :tenant AND property_id = ANY(:properties)) s
           JOIN supply_accounts sa ON sa.tenant_id = s.tenant_id AND sa.space_id = s.id
          WHERE s.plain LIKE :room_start OR s.plain LIKE :room_end
          ORDER BY rank, s.name, sa.id LIMIT :most)
        UNION ALL
        (SELECT sa.id, 1 FROM supply_accounts sa
          WHERE sa.tenant_id = :tenant AND sa.property_id = ANY(:properties) AND sa.number = :exact LIMIT :most)
        UNION ALL
        (SELECT mo.supply_account_id, 1 FROM meters m JOIN mounts mo ON mo.tenant_id = m.tenant_id AND mo.meter_id = m.id
             AND mo.ended_at IS NULL
          WHERE m.tenant_id = :tenant AND m.property_id = ANY(:properties) AND (m.number = :exact OR m.address = :exact)
            AND mo.supply_account_id IS NOT NULL LIMIT :most)
        UNION ALL
        (SELECT sa.id, 2 FROM parties p JOIN supply_accounts sa ON sa.tenant_id = p.tenant_id AND sa.party_id = p.id
          WHERE p.tenant_id = :tenant AND p.property_id = ANY(:properties)
            AND (p.phone_blind = ANY(CAST(:phones AS bytea[])) OR p.phone_last4_blind = ANY(CAST(:last4s AS bytea[])))
          LIMIT :most)
        UNION ALL
        (SELECT sa.id, 4 FROM parties p JOIN supply_accounts sa ON sa.tenant_id = p.tenant_id AND sa.party_id = p.id
          WHERE p.tenant_id = :tenant AND p.property_id = ANY(:properties) AND p.name LIKE :prefix LIMIT :most)
        UNION ALL
        (SELECT sa.id, 5 FROM supply_accounts sa
          WHERE sa.tenant_id = :tenant AND sa.property_id = ANY(:properties) AND sa.number LIKE :prefix LIMIT :most)
    ), best AS (SELECT id, min(rank) AS rank FROM hits GROUP BY id)
    SELECT sa.id, sa.public_id::text AS public_id, sa.number, sa.utility, s.name AS space, b.name AS building,
           n.name AS property, p.name AS party, p.kind AS party_kind, m.number AS meter_number,
           {AVAILABLE_FEN} AS available_fen
    FROM best
    JOIN supply_accounts sa ON sa.tenant_id = :tenant AND sa.id = best.id AND sa.state <> 'closed'
    JOIN spaces s ON s.tenant_id = sa.tenant_id AND s.id = sa.space_id
    JOIN buildings b ON b.tenant_id = s.tenant_id AND b.id = s.building_id
    JOIN nodes n ON n.tenant_id = sa.tenant_id AND n.id = sa.property_id
    JOIN parties p ON p.tenant_id = sa.tenant_id AND p.id = sa.party_id
    LEFT JOIN mounts mo ON mo.tenant_id = sa.tenant_id AND mo.supply_account_id = sa.id AND mo.ended_at IS NULL
    LEFT JOIN meters m ON m.tenant_id = mo.tenant_id AND m.id = mo.meter_id
    LEFT JOIN ledger_accounts la ON la.tenant_id = sa.tenant_id AND la.supply_account_id = sa.id AND la.code = 'wallet'
    LEFT JOIN ledger_balances bal ON bal.tenant_id = la.tenant_id AND bal.account_id = la.id
    ORDER BY best.rank, s.name, sa.id LIMIT :most
""")
