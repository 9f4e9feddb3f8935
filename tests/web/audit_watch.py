"""What a form changes leaves a record: watched at every unsafe request of every web test that wrote and was answered well."""

from flask import Flask, g, request
from sqlalchemy import func, select, text
from werkzeug.wrappers import Response

from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.tenants.models import AuditRecord

#: Tables that the transaction touched, rolled-back savepoints included; and whether a row of its own is to be seen there.
_TOUCHED = "SELECT relname FROM pg_stat_xact_user_tables WHERE n_tup_ins + n_tup_upd > 0 AND has_table_privilege(relid, 'SELECT')"
_OWN = "SELECT 1 FROM {} WHERE pg_xact_status(xmin::text::xid8) = 'in progress' LIMIT 1"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

#: Unsafe requests that may succeed without a record: endpoint → why.
UNRECORDED: dict[str, str] = {
    "console.print_paper": "the receipt counts its prints, and every further one says that it is a copy",
    "console.print_pdf": "as on paper",
    "console.webhook_ping": "a test message without content; the delivery log keeps it",
}


class AuditWatch:
    """Looks whether a request's transaction leaves rows behind, and counts the group's records before and after it."""

    def __init__(self, db: Database) -> None:
        self.db = db
        #: Endpoints that were answered well and left nothing.
        self.silent: list[str] = []

    def over(self, app: Flask) -> None:
        """Watch an application: after the guards let a request in, and after its work was committed."""
        app.before_request(self._before)
        app.teardown_request(self._after)
        app.after_request(self._answered)

    def _before(self) -> None:
        if request.method not in SAFE and "tenant_id" in g:
            g.records_before = self._count()

    def _answered(self, response: Response) -> Response:
        if "records_before" in g and "work" in g and response.status_code < 400:
            g.wrote = any(g.session.scalar(text(_OWN.format(name))) for name in g.session.scalars(text(_TOUCHED)).all())
        return response

    def _after(self, _error: BaseException | None) -> None:
        before = g.pop("records_before", None)
        if g.get("wrote") and request.endpoint not in UNRECORDED and self._count() == before:
            self.silent.append(str(request.endpoint))

    def _count(self) -> int:
        with unit_of_work(g.tenant_id, db=self.db) as session:
            return session.scalar(select(func.count()).select_from(AuditRecord)) or 0
