"""What a request did is kept or given up in one place, at its end: a view that rolls back by hand breaks its own page."""

import re
from pathlib import Path

ENDS = re.compile(r"\bsession\.(?:rollback|commit|begin)\(")


def test_no_view_ends_the_request_s_transaction_by_hand() -> None:
    views = [path for folder in ("console", "api") for path in sorted(Path("app/web", folder).glob("*.py"))]
    found = [
        f"{path}:{number}: use `with g.session.begin_nested()` around what may be refused"
        for path in views
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if ENDS.search(line)
    ]
    assert found == []
