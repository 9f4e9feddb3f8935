"""docs/matrix.md says what the roles and the views say today."""

from tools.matrix import PAGE, page


def test_the_page_of_roles_and_areas_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: .venv/bin/python tools/matrix.py"
