"""What is refused about an XLSX file before a spreadsheet reader touches it: small outside and huge inside.

The reader builds an object for every style and every defined name, many times the size of their text, and expands
entities in whatever encoding they hide. So both are judged here, by size and by the parser's own eyes.
"""

import io
import zipfile
from typing import Any
from xml.parsers import expat

from openpyxl.packaging.manifest import Manifest
from openpyxl.xml.constants import ARC_CONTENT_TYPES, SHARED_STRINGS, XLSM, XLSX, XLTM, XLTX
from openpyxl.xml.functions import fromstring

PARTS_MAX = 200
UNPACKED_BYTES_MAX = 40 * 1024 * 1024
#: Unpacked bytes of the parts that are read whole, by name; templates need a fiftieth of each.
BYTES_MAX_BY_PART = {
    "[content_types].xml": 64 * 1024,
    "xl/workbook.xml": 64 * 1024,
    "xl/styles.xml": 256 * 1024,
    "xl/sharedstrings.xml": 8 * 1024 * 1024,
}
#: Lines a sheet may have, blank ones and gaps between row numbers included: far above the rows of any import.
LINES_MAX = 100_000
#: Every other part that the reader takes whole: relations between parts, theme, properties.
WHOLE_BYTES_MAX = 1024 * 1024
_IN_PIECES = ("xl/worksheets/", "xl/media/", "xl/drawings/", "xl/calcchain.xml")
_BOOK, _STRINGS = "/xl/workbook.xml", "/xl/sharedstrings.xml"
_PIECE_BYTES = 64 * 1024


class UnpacksTooLarge(Exception):
    """More inside than any honest list has."""


class NotAWorkbook(Exception):
    """Damaged, not laid out as every spreadsheet program does it, or declaring a document type."""


class _PrologOver(Exception):
    """The first element begins: no declaration can follow."""


def refuse_bombs(content: bytes) -> None:
    """Judge the packed file without a spreadsheet reader. Raises UnpacksTooLarge, NotAWorkbook."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _refuse_sizes(archive.infolist())
            for part in archive.infolist():
                with archive.open(part) as stream:
                    _refuse_declarations(stream.read(_PIECE_BYTES))
            _refuse_other_places(archive.read(ARC_CONTENT_TYPES))
    except (UnpacksTooLarge, NotAWorkbook):
        raise
    except Exception as broken:  # a damaged archive fails in a dozen ways that mean one thing to the sender
        raise NotAWorkbook from broken


def _refuse_sizes(parts: list[zipfile.ZipInfo]) -> None:
    if len(parts) > PARTS_MAX or sum(part.file_size for part in parts) > UNPACKED_BYTES_MAX:
        raise UnpacksTooLarge
    for part in parts:
        name = part.filename.lower()
        whole = UNPACKED_BYTES_MAX if name.startswith(_IN_PIECES) else WHOLE_BYTES_MAX
        if part.file_size > BYTES_MAX_BY_PART.get(name, whole):
            raise UnpacksTooLarge


def _refuse_declarations(start: bytes) -> None:
    """Spreadsheets declare no document type; a file that does wants its entities to grow. Any encoding."""
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = _declared
    parser.StartElementHandler = _begun
    try:
        parser.Parse(start, False)
    except _PrologOver:
        return
    except expat.ExpatError:
        return  # not XML: a picture, or something the reader will stumble over as well
    if len(start) == _PIECE_BYTES:
        raise NotAWorkbook  # a prolog of this length hides something


def _declared(*_facts: object) -> None:
    raise NotAWorkbook


def _begun(*_facts: object) -> None:
    raise _PrologOver


def _refuse_other_places(content_types: bytes) -> None:
    """The reader finds these parts by type: elsewhere they would escape the limits for their names."""
    manifest: Any = Manifest.from_tree(fromstring(content_types))  # type: ignore[arg-type]
    for kinds, place in (((XLSX, XLSM, XLTX, XLTM), _BOOK), ((SHARED_STRINGS,), _STRINGS)):
        for part in manifest.Override:
            if part.ContentType in kinds and part.PartName.lower() != place:
                raise NotAWorkbook
