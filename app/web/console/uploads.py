"""A file that was checked is kept for an hour, so that "import" need not ask for it again."""

from pathlib import Path

from flask import current_app, g, request

from app.kernel.errors import Invalid
from app.tenants.kept_files import drop_file, keep_file, kept_file
from app.web.places import operator
from app.web.words import _


def uploaded() -> tuple[str, bytes]:
    """(name, content) of the file in this request: freshly chosen, or kept from the check. Raises Invalid."""
    chosen = request.files.get("file")
    if chosen is not None and chosen.filename:
        return Path(chosen.filename).name[-120:], chosen.stream.read()
    digest = request.form.get("digest", "")
    content = kept_file(g.session, var=_var(), user_id=operator().found.user_id, digest=digest)
    if content is None:
        raise Invalid(field=_("文件"), reason=_("请选择要导入的 .xlsx 文件"))
    return request.form.get("file_name", "")[:120], content


def keep(content: bytes) -> str:
    """Keep a checked file for this person and return its digest."""
    return keep_file(g.session, var=_var(), user_id=operator().found.user_id, content=content)


def drop(content: bytes) -> None:
    """Forget a file that was imported."""
    drop_file(var=_var(), user_id=operator().found.user_id, content=content)


def _var() -> Path:
    var: Path = current_app.config["SETTINGS"].var_path
    return var
