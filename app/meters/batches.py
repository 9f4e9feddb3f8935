"""Batches of readings from machines: one effect per key, one result per row, the first answer again for a retry."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.kernel.clock import wall_now
from app.kernel.db import current_tenant_id
from app.kernel.idempotency import KeyReused
from app.meters.ingest import NewReading, RowResult, take_readings
from app.meters.models import Meter, ReadingBatch


class BatchRow(NamedTuple):
    """A row that can be read; its meter by the number on the plate."""

    meter_number: str
    read_at: datetime
    register_wh: int
    register: str = "total"


#: A row, or the name of what makes it unreadable.
Row = BatchRow | str


@dataclass(frozen=True, slots=True)
class BatchAnswer:
    """One result per row, in their order. `replayed`: an earlier request with this key had done it."""

    results: list[RowResult]
    replayed: bool


def take_batch(
    session: Session, *, property_id: int, idempotency_key: str, fingerprint: bytes, rows: Sequence[Row]
) -> BatchAnswer:
    """Take a batch for one property, once per key. Raises KeyReused when the key came with other rows."""
    fresh = insert(ReadingBatch).values(
        tenant_id=current_tenant_id(),
        property_id=property_id,
        idempotency_key=idempotency_key,
        fingerprint=fingerprint,
        answer={},
        created_at=wall_now(),
    )
    batch_id = session.scalar(fresh.on_conflict_do_nothing().returning(ReadingBatch.id))
    if batch_id is None:
        return _replay(session, property_id, idempotency_key, fingerprint)
    results = _take(session, property_id, rows)
    answer = {"rows": [f"{result.status}:{result.flag}" for result in results]}
    session.execute(
        update(ReadingBatch).where(ReadingBatch.id == batch_id).values(answer=answer),
        execution_options={"synchronize_session": False},
    )
    return BatchAnswer(results, replayed=False)


def _replay(session: Session, property_id: int, idempotency_key: str, fingerprint: bytes) -> BatchAnswer:
    known = session.scalars(
        select(ReadingBatch).where(
            ReadingBatch.property_id == property_id, ReadingBatch.idempotency_key == idempotency_key
        )
    ).one()
    if known.fingerprint != fingerprint:
        raise KeyReused
    return BatchAnswer([RowResult(*row.split(":")) for row in known.answer["rows"]], replayed=True)


def _take(session: Session, property_id: int, rows: Sequence[Row]) -> list[RowResult]:
    """Results for every row; only rows that can be read, of meters of the property, go further."""
    numbers = {row.meter_number for row in rows if isinstance(row, BatchRow)}
    asked = select(Meter.number, Meter.id).where(Meter.property_id == property_id, Meter.number.in_(numbers))
    meters = {number: meter_id for number, meter_id in session.execute(asked)}
    results = [_refusal(row, meters) for row in rows]
    places = [place for place, refused in enumerate(results) if refused is None]
    new = [_typed(row, meters) for row in rows if isinstance(row, BatchRow) and row.meter_number in meters]
    taken = dict(zip(places, take_readings(session, rows=new, source="api") if new else (), strict=True))
    return [taken[place] if refused is None else refused for place, refused in enumerate(results)]


def _refusal(row: Row, meters: Mapping[str, int]) -> RowResult | None:
    if isinstance(row, str):
        return RowResult("refused", row)
    return None if row.meter_number in meters else RowResult("refused", "meter_unknown")


def _typed(row: BatchRow, meters: Mapping[str, int]) -> NewReading:
    return NewReading(meters[row.meter_number], row.read_at, row.register_wh, row.register)
