"""`tallyhouse frames decode dlt645 <hex> …`: what a frame says, one JSON object a line."""

import json
import re
import sys

import click

from app.meters.drivers.describe import PROTOCOLS, describe_line

_BYTE = re.compile(r"[0-9A-Fa-f]{2}")


@click.group()
def frames() -> None:
    """Read meter frames."""


@frames.command()
@click.argument("protocol", type=click.Choice(sorted(PROTOCOLS)))
@click.argument("frames_hex", nargs=-1, required=True, metavar="HEX… | -")
def decode(protocol: str, frames_hex: tuple[str, ...]) -> None:
    """Print what each frame says as one JSON object a line; `-` reads one frame per line from standard input.

    Arguments of one byte each are one frame.

    Exits 2 if any frame was bad; a bad frame prints {"error": …}.
    """
    bad = False
    for hex_text in _lines(frames_hex):
        facts, good = describe_line(protocol, hex_text)
        bad = bad or not good
        click.echo(json.dumps(facts, ensure_ascii=False))
    sys.exit(2 if bad else 0)


def _lines(frames_hex: tuple[str, ...]) -> list[str]:
    if len(frames_hex) > 1 and all(_BYTE.fullmatch(text) for text in frames_hex):
        return [" ".join(frames_hex)]  # one frame whose spaces the shell took for separators
    texts: list[str] = []
    for text in frames_hex:
        texts += [line for line in sys.stdin.read().splitlines() if line.strip()] if text == "-" else [text]
    return texts
