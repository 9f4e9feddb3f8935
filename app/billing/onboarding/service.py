"""Bring a property in: dry run as often as wanted, commit once, all or nothing."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.billing.models import ImportBatch
from app.billing.onboarding.checks import check
from app.billing.onboarding.columns import SHEETS
from app.billing.onboarding.known import load_known
from app.billing.onboarding.reasons import BadRow
from app.billing.onboarding.rows import Parsed, parse
from app.billing.onboarding.workbook import read_workbook
from app.billing.onboarding.writing import Deed, Written, write
from app.kernel.actor import Actor
from app.kernel.clock import business_now
from app.kernel.errors import AppError
from app.tenants import audit
from app.tenants.access import or_not_found
from app.tenants.models import Property

_ORDER = {form.title: place for place, form in enumerate(SHEETS)}


class ImportHasBadRows(AppError):
    """Some row cannot be taken, so none was. `report` lists every one."""

    code, status = "import_has_bad_rows", 422
    message_zh = "有 {bad} 处需要修改，没有写入任何数据。请按列表逐条修改后重新上传。"
    message_en = "{bad} things must be mended; nothing was written. Go through the list and upload again."

    def __init__(self, report: "Report") -> None:
        super().__init__(bad=len(report.bad))
        self.report = report


class ImportCollided(AppError):
    """Somebody registered one of these meters, accounts or gateways at the same moment."""

    code, status = "import_collided", 409
    message_zh = "导入时有人登记了相同的表计、户号或网关，没有写入任何数据。请重新检查一遍。"
    message_en = "One of these numbers was registered meanwhile; nothing was written. Do the dry run again to see."


@dataclass(frozen=True, slots=True)
class Report:
    """What a dry run found: rows per sheet, and everything that must be mended, in the order of the file."""

    counts: Mapping[str, int]
    bad: tuple[BadRow, ...]
    digest: bytes

    @property
    def ok(self) -> bool:
        """Whether a commit of the same file would be taken."""
        return not self.bad


@dataclass(frozen=True, slots=True)
class ImportDone:
    """A committed import; `replayed` when the same file was committed before and nothing was done now.

    `secrets`: of the gateways registered now, by number. Told here and never again; only digests are kept.
    """

    batch_id: int
    counts: Mapping[str, int]
    replayed: bool
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)


def dry_run(session: Session, *, property_id: int, content: bytes) -> Report:
    """Judge every row of a workbook and write nothing.

    Raises NotFound and the refusals of `read_workbook`.
    """
    or_not_found(session.scalar(select(Property.id).where(Property.id == property_id)))
    return _judge(session, property_id, content)[1]


def commit_import(
    session: Session,
    *,
    property_id: int,
    content: bytes,
    file_name: str,
    by: Actor,
    admit: Callable[[Parsed], None] | None = None,
    approval_id: int | None = None,
) -> ImportDone:
    """Write the whole workbook, or nothing. The same file for the same property is taken once.

    `admit` is told what will be written, and raises when it may not be; people come through `approved`.
    Raises NotFound, the refusals of `read_workbook`, ImportHasBadRows, what `admit` raises, ImportCollided.
    """
    # Two imports into one property wait for each other; everybody else's inserts below it do not.
    locked = select(Property).where(Property.id == property_id).with_for_update(key_share=True)
    site = or_not_found(session.scalar(locked))
    earlier = _earlier(session, property_id, digest_of(content))
    if earlier is not None:
        return ImportDone(earlier.id, earlier.counts, replayed=True)
    parsed, report = _judge(session, property_id, content)
    if not report.ok:
        raise ImportHasBadRows(report)
    if admit is not None:
        admit(parsed)
    deed = Deed(site=site, at=business_now(), actor=str(by), file_digest=report.digest)
    try:
        written = write(session, parsed=parsed, deed=deed)
        session.flush()  # allow: flush - a collision must be named here, not at the commit
    except IntegrityError as collided:
        raise ImportCollided() from collided
    return _note(session, deed=deed, written=written, file_name=file_name, by=by, approval_id=approval_id)


def digest_of(content: bytes) -> bytes:
    """SHA-256 of a file: the same bytes are the same import."""
    return hashlib.sha256(content).digest()


def _judge(session: Session, property_id: int, content: bytes) -> tuple[Parsed, Report]:
    sheets = read_workbook(content)
    parsed = parse(sheets)
    known = load_known(session, property_id=property_id, parsed=parsed)
    bad = sorted([*parsed.bad, *check(parsed, known)], key=lambda row: (_ORDER[row.sheet], row.row))
    counts = {form.key: len(sheets[form.key]) for form in SHEETS}
    return parsed, Report(counts=counts, bad=tuple(bad), digest=digest_of(content))


def _earlier(session: Session, property_id: int, digest: bytes) -> ImportBatch | None:
    return session.scalar(
        select(ImportBatch).where(ImportBatch.property_id == property_id, ImportBatch.file_digest == digest)
    )


def _note(
    session: Session, *, deed: Deed, written: Written, file_name: str, by: Actor, approval_id: int | None
) -> ImportDone:
    counts = dict(written.counts)
    batch = ImportBatch(
        property_id=deed.site.id,
        file_digest=deed.file_digest,
        file_name="".join(letter for letter in file_name if letter.isprintable())[-120:],
        actor=str(by),
        counts=counts,
        committed_at=deed.at,
    )
    session.add(batch)
    session.flush()  # allow: flush - the audit log names the batch by its id
    audit.record(
        session,
        deed="onboarding:import:commit",
        subject=f"import_batches:{batch.id}",
        actor=by,
        property_id=deed.site.id,
        approval_id=approval_id,
        facts={"counts": counts, "file_digest": deed.file_digest.hex()},
    )
    return ImportDone(batch.id, counts, replayed=False, secrets=written.secrets)
