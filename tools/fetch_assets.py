"""Copy the few files the browser gets out of node_modules, and cut the icon sprite to the icons used.

    python tools/fetch_assets.py          copy, and write manifest.json (sha256 of every file)
    python tools/fetch_assets.py --check  exit 1 unless every file is there and is what the manifest says

Reads `app/web/icons.txt`: one icon name a line, `-filled` at the end for the filled drawing.
"""

import hashlib
import json
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ROOT / "node_modules"
ICON_NAMES = ROOT / "app/web/icons.txt"
VENDOR = ROOT / "app/web/static/vendor"

#: name in the vendor folder → file in node_modules
FILES = {
    "htmx.min.js": "htmx.org/dist/htmx.min.js",
    "alpine-csp.min.js": "@alpinejs/csp/dist/cdn.min.js",
    "tabler.min.css": "@tabler/core/dist/css/tabler.min.css",
    "tabler.min.js": "@tabler/core/dist/js/tabler.min.js",
    "echarts.min.js": "echarts/dist/echarts.min.js",
}

SOURCE_MAP = re.compile(rb"\n?(//# sourceMappingURL=\S+|/\*# sourceMappingURL=\S+ \*/)\s*$")
DRAWING = re.compile(r"<svg[^>]*>(.*)</svg>", re.DOTALL)
#: An invisible square that every icon begins with.
FRAME = re.compile(r'\s*<path stroke="none" d="M0 0h24v24H0z" fill="none"\s*/>')


class IconUnknown(Exception):
    """icons.txt names an icon that the icon package does not have."""


def icon_names(listing: str) -> list[str]:
    """Names in a listing, sorted, each once; blank lines and `#` comments left out."""
    lines = (line.partition("#")[0].strip() for line in listing.splitlines())
    return sorted({line for line in lines if line})


def icon_source(name: str) -> Path:
    """Where an icon's drawing lies in the package."""
    folder, stem = ("filled", name.removesuffix("-filled")) if name.endswith("-filled") else ("outline", name)
    return PACKAGES / "@tabler/icons/icons" / folder / f"{stem}.svg"


def symbol(name: str, svg: str) -> str:
    """One `<symbol>` of the sprite. The stroke's width is left to the page's `.icon` rule."""
    match = DRAWING.search(svg)
    if match is None:
        raise IconUnknown(f"{name}: not an SVG drawing")
    inside = re.sub(r"\s*\n\s*", "", FRAME.sub("", match[1]))
    paint = 'fill="currentColor"' if name.endswith("-filled") else 'fill="none" stroke="currentColor"'
    return (
        f'<symbol id="{name}" viewBox="0 0 24 24" {paint}'
        f' stroke-linecap="round" stroke-linejoin="round">{inside}</symbol>'
    )


def sprite(names: list[str]) -> str:
    """The whole sprite. Raises IconUnknown naming every icon the package does not have."""
    unknown = [name for name in names if not icon_source(name).is_file()]
    if unknown:
        raise IconUnknown(f"app/web/icons.txt names icons that do not exist: {', '.join(unknown)}")
    symbols = [symbol(name, icon_source(name).read_text(encoding="utf-8")) for name in names]
    return '<svg xmlns="http://www.w3.org/2000/svg">\n' + "\n".join(symbols) + "\n</svg>\n"


def digest(path: Path) -> str:
    """sha256 of a file, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def copy_all() -> None:
    """Make the vendor folder anew, then put it in the place of the old one."""
    fresh = VENDOR.with_name("vendor.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for name, source in FILES.items():
        (fresh / name).write_bytes(SOURCE_MAP.sub(b"\n", (PACKAGES / source).read_bytes()))
    listing = ICON_NAMES.read_text(encoding="utf-8") if ICON_NAMES.is_file() else ""
    (fresh / "icons.svg").write_text(sprite(icon_names(listing)), encoding="utf-8")
    manifest = {path.name: digest(path) for path in sorted(fresh.iterdir())}
    (fresh / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(VENDOR, ignore_errors=True)
    fresh.rename(VENDOR)


def differences() -> list[str]:
    """Files of the manifest that are missing or changed; a missing manifest is one difference."""
    manifest = VENDOR / "manifest.json"
    if not manifest.is_file():
        return ["manifest.json"]
    wanted: dict[str, str] = json.loads(manifest.read_text(encoding="utf-8"))
    return [name for name, sha in wanted.items() if not (VENDOR / name).is_file() or digest(VENDOR / name) != sha]


def main(arguments: list[str]) -> int:
    """The command. Returns its exit status."""
    if arguments == ["--check"]:
        wrong = differences()
        if wrong:
            print(
                f"front-end files missing or changed: {', '.join(wrong)}; run tools/bootstrap.sh",
                file=sys.stderr,
            )
        return 1 if wrong else 0
    try:
        copy_all()
    except (IconUnknown, FileNotFoundError) as refusal:
        print(f"front-end files not copied: {refusal}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
