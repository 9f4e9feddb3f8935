"""The room wall 房态图: floors as rows, spaces as tiles, one query for the whole property."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Row
from sqlalchemy.orm import Session

from app.billing.wallets import AVAILABLE_FEN
from app.reports.room_states import IN_SCOPE, ROOMS, STATE, STATES

#: Floors with up to so many tiles fit into half a screen.
NARROW_TILES_MAX = 5


@dataclass(frozen=True, slots=True)
class Tile:
    """One space: what it is called, how it stands, what is left in fen (None without an account)."""

    space_id: int
    public_id: str
    name: str
    state: str
    available_fen: int | None
    offline: bool


@dataclass(frozen=True, slots=True)
class FloorRow:
    """A floor and its tiles; `digest` changes when any tile does."""

    id: int
    name: str
    tiles: tuple[Tile, ...]

    @property
    def digest(self) -> str:
        """Eight characters that stand for everything this row shows."""
        return hashlib.sha256(repr(self.tiles).encode()).hexdigest()[:8]


@dataclass(frozen=True, slots=True)
class BuildingRows:
    """A building, its floors from the top down."""

    name: str
    floors: tuple[FloorRow, ...]

    @property
    def is_wide(self) -> bool:
        """Whether it needs the full width of a screen; slender buildings stand side by side."""
        return any(len(floor.tiles) > NARROW_TILES_MAX for floor in self.floors)


@dataclass(frozen=True, slots=True)
class Wall:
    """The wall of a property and how many rooms are in each state, whatever the filter shows."""

    buildings: tuple[BuildingRows, ...]
    counts: dict[str, int]

    @property
    def floors(self) -> list[FloorRow]:
        """All floors, for comparing what a page has seen."""
        return [floor for building in self.buildings for floor in building.floors]


_WALL = text(f"""
    SELECT s.id, s.public_id::text AS public_id, s.name, s.floor_id, f.name AS floor, b.name AS building,
           {STATE} AS state, {AVAILABLE_FEN} AS available_fen,
           coalesce(m.id IS NOT NULL AND (NOT m.online OR gw.online IS FALSE), false) AS offline
    {ROOMS}
    JOIN floors f ON f.tenant_id = s.tenant_id AND f.id = s.floor_id
    JOIN buildings b ON b.tenant_id = s.tenant_id AND b.id = s.building_id
    {IN_SCOPE}
    ORDER BY b.name, b.id, f.level DESC, s.name, s.id, sa.id
""")


def room_wall(session: Session, *, tenant_id: int, property_id: int, only: str | None = None) -> Wall:
    """The wall of one property; `only` keeps the tiles of one state. One query."""
    rows = _first_per_space(session.execute(_WALL, {"tenant": tenant_id, "properties": [property_id]}).all())
    counts = dict.fromkeys(STATES, 0)
    for row in rows:
        counts[row.state] += 1
    shown = [row for row in rows if only is None or row.state == only]
    buildings = tuple(
        BuildingRows(name, tuple(_floors(list(group)))) for name, group in groupby(shown, key=lambda row: row.building)
    )
    return Wall(buildings, counts)


def _first_per_space(rows: Sequence[Row[Any]]) -> list[Row[Any]]:
    return [row for i, row in enumerate(rows) if i == 0 or rows[i - 1].id != row.id]


def _floors(rows: list[Row[Any]]) -> list[FloorRow]:
    return [
        FloorRow(floor_id, group[0].floor, tuple(_tile(row) for row in group))
        for floor_id, group in ((key, list(found)) for key, found in groupby(rows, key=lambda row: row.floor_id))
    ]


def _tile(row: Row[Any]) -> Tile:
    return Tile(row.id, row.public_id, row.name, row.state, row.available_fen, row.offline)


_PANEL = text(f"""
    SELECT s.id, s.public_id::text AS public_id, s.name, f.name AS floor, b.name AS building, s.usage_class,
           {STATE} AS state, {AVAILABLE_FEN} AS available_fen, sa.id AS account_id, sa.public_id::text AS account_public_id,
           sa.number, p.name AS party, p.kind AS party_kind,
           m.id AS meter_id, m.public_id::text AS meter_public_id, m.number AS meter_number,
           m.online, m.relay_state, m.relay_read_at, m.reading_at, m.register_wh, pay.amount_fen AS paid_fen,
           pay.received_at AS paid_at, st.state AS stop_state, st.basis
    {ROOMS}
    JOIN floors f ON f.tenant_id = s.tenant_id AND f.id = s.floor_id
    JOIN buildings b ON b.tenant_id = s.tenant_id AND b.id = s.building_id
    LEFT JOIN parties p ON p.tenant_id = sa.tenant_id AND p.id = sa.party_id
    LEFT JOIN LATERAL (SELECT amount_fen, received_at FROM payments y WHERE y.tenant_id = :tenant
         AND y.supply_account_id = sa.id ORDER BY y.id DESC LIMIT 1) pay ON true
    {IN_SCOPE} AND s.public_id = CAST(:space AS uuid)
    ORDER BY sa.id LIMIT 1
""")


def room_panel(session: Session, *, tenant_id: int, property_ids: list[int], space: str) -> Row[Any] | None:
    """Everything the side panel of the wall says about one space; None when it is not there or not in scope."""
    given = {"tenant": tenant_id, "properties": property_ids, "space": space}
    return session.execute(_PANEL, given).one_or_none()
