"""No encrypted column is forgotten when keys are changed, and each ciphertext calls its place what the registry says."""

import ast
from collections.abc import Iterator
from pathlib import Path

from app.models import Base
from app.tenants.sealed_columns import SEALED_COLUMNS

ROOT = Path(__file__).resolve().parents[2]
CIPHER, BLIND = "_cipher", "_blind"
#: Ciphertexts that lie in files.
IN_FILES = {("uploads", "content")}


def columns_ending(ending: str) -> set[tuple[str, str]]:
    return {(t.name, c.name) for t in Base.metadata.tables.values() for c in t.columns if c.name.endswith(ending)}


def test_every_encrypted_column_of_the_models_is_known() -> None:
    assert {(one.table, one.column) for one in SEALED_COLUMNS} == columns_ending(CIPHER)


def test_every_blind_index_is_made_beside_its_column() -> None:
    made = {(one.table, digest.column) for one in SEALED_COLUMNS for digest in one.digests}
    assert made == columns_ending(BLIND)


def test_every_such_table_names_its_rows_by_public_id() -> None:
    for one in SEALED_COLUMNS:
        assert {"id", "public_id"} <= set(Base.metadata.tables[one.table].columns.keys())


def places() -> Iterator[tuple[str, str]]:
    """(table, column) of every place that the product's code names."""
    for file in sorted((ROOT / "app").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            said = {k.arg: k.value.value for k in node.keywords if isinstance(k.value, ast.Constant)}
            if node.func.id == "place" and {"table", "column"} <= set(said):
                yield said["table"], said["column"]
            if node.func.id == "FieldPlace" and len(node.args) == 4 and isinstance(node.args[1], ast.Constant):
                yield node.args[1].value, node.args[2].value  # type: ignore[attr-defined]


def test_ciphertexts_call_their_place_what_the_change_of_keys_calls_it() -> None:
    named = set(places())
    assert ("parties", "phone") in named
    assert named - IN_FILES <= {(one.table, one.said) for one in SEALED_COLUMNS}
