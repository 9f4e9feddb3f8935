"""Writes docs/matrix.md: what each standard role may ask for, area by area, from the roles and the views' permissions.

    python tools/matrix.py          writes it
    python tools/matrix.py --print  prints it

`tests/structure/test_matrix_page.py` says when it is out of date.
"""

import sys
from collections import defaultdict
from pathlib import Path

from flask import Flask

from app.permissions.policy import ROLES, Permission, Role
from app.web import MACHINES
from app.web.console import console
from app.web.guards import SIGNED_IN
from app.web.resident import resident
from app.web.resident.blueprint import RESIDENT

PAGE = Path(__file__).resolve().parents[1] / "docs" / "matrix.md"
HEAD = """# Who may do what

Made by `tools/matrix.py` from the roles in `app/permissions/policy.py` and the permission that each view names; checked by
`tests/structure/test_matrix_page.py`, and tried route by route in `tests/matrix/`. A grant holds for its node and all below
it; everything outside answers like nothing there. Own roles are edited copies and may hold any of these permissions.

## Areas of the console

**R** may read all of the area, **r** some of it; **W** may send every form of it, **w** some. An area is the first word
of the address.

"""
PERMISSIONS = """
## Permissions

The dot says that the role holds it.

"""
#: What a view names besides a permission → in words.
WHO = {SIGNED_IN: "who is signed in", RESIDENT: "residents of the place"}
OPEN = """
## What asks for no role

"""


def rules() -> list[tuple[str, str, Permission | str | None]]:
    """(method, rule, what the view names) of every route; None is public."""
    app = Flask("app", static_folder=None)
    for blueprint in (console, resident, *MACHINES):
        app.register_blueprint(blueprint)
    return sorted(
        (method, rule.rule, getattr(app.view_functions[rule.endpoint], "permission", None))
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    )


def page() -> str:
    """The whole page."""
    found = rules()
    return HEAD + _areas(found) + PERMISSIONS + _permissions() + OPEN + _open(found)


def _areas(found: list[tuple[str, str, Permission | str | None]]) -> str:
    needed: dict[str, list[tuple[bool, Permission]]] = defaultdict(list)
    for method, rule, need in found:
        if isinstance(need, Permission):
            needed[rule.split("/")[1] or "(start)"].append((method == "GET", need))
    rows = [[area, *(_letters(role, needed[area]) for role in Role)] for area in sorted(needed)]
    return _table(["area", *(role.value.replace("_", " ") for role in Role)], rows)


def _letters(role: Role, needs: list[tuple[bool, Permission]]) -> str:
    held = ROLES[role]
    said = ""
    for is_read, letter in ((True, "R"), (False, "W")):
        wanted = {need for reads, need in needs if reads is is_read}
        if wanted & held:
            said += letter if wanted <= held else letter.lower()
    return said or "–"


def _permissions() -> str:
    rows = [[f"`{p.value}`", *("•" if p in ROLES[role] else "" for role in Role)] for p in Permission]
    return _table(["permission", *(role.value.replace("_", " ") for role in Role)], rows)


def _open(found: list[tuple[str, str, Permission | str | None]]) -> str:
    rows = [
        [method, rule.replace("<", "{").replace(">", "}"), WHO.get(str(need), "anybody")]
        for method, rule, need in found
        if not isinstance(need, Permission)
    ]
    return _table(["method", "address", "who"], rows)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


if __name__ == "__main__":
    if "--print" in sys.argv:
        print(page())
    else:
        PAGE.write_text(page(), encoding="utf-8")
