"""Run one command in a brought-up stack.

python -m app.launcher.within [--migrate] [--var DIR] -- command …
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from app.launcher.errors import LauncherError
from app.launcher.programs import product_env
from app.launcher.secrets import product_secrets
from app.launcher.stack import ensure_stack
from app.launcher.up import ROOT, migrate


def run_within(command: Sequence[str], *, var_dir: Path, with_tables: bool) -> int:
    """Run a command with the stack's variables. Returns its status. Raises LauncherError."""
    var_dir = var_dir.resolve()
    with ensure_stack(var_dir) as stack:
        env = product_env(os.environ, stack.env(), product_secrets(var_dir), var_dir)
        if with_tables:
            migrate(env)
        return subprocess.run(list(command), env=env, cwd=ROOT, check=False).returncode


def main(words: Sequence[str] | None = None) -> int:
    """The command. Returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m app.launcher.within", description=__doc__)
    parser.add_argument("--var", type=Path, default=ROOT / "var", help="folder of the stack (default: var)")
    parser.add_argument("--migrate", action="store_true", help="bring the tables up to date first")
    parser.add_argument("command", nargs="+")
    said = parser.parse_args(words)
    try:
        return run_within(said.command, var_dir=said.var, with_tables=said.migrate)
    except LauncherError as refusal:
        print(f"tallyhouse: {refusal}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
