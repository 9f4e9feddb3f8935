"""Tiers of the suite: what each may cost, and what a missing browser means.

Seconds used by a tier are those of all its tests, divided by the workers that shared them. A tier over its
budget is said loudly at the end and fails nothing: a slow machine is no defect of the product.
"""

import os
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

#: Seconds on two cores, by folder of tests/. Together the eight minutes of `make test`.
BUDGET_S = {
    "rules": 5,
    "frames": 5,
    "structure": 10,
    "launcher": 20,
    "db": 90,
    "web": 125,
    "matrix": 60,
    "contracts": 5,
    "scenarios": 45,
    "migrations": 5,
    "faults": 25,
    "browser": 85,
}
#: What one worker does from its first test to its last, by the beginning of the test's name. A browser's driver and other
#: tests do not mix (tests/browser/conftest.py), and the story takes half a minute to tell once.
ON_ONE_WORKER = ("tests/browser/", "tests/scenarios/test_story.py")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
NO_BROWSER = "BROWSER TESTS SKIPPED: no chromium on this machine. Cure: sudo apt-get install chromium"


def find_browser() -> str | None:
    """Path of the machine's chromium, or None."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def tier_of(path: str) -> str:
    """The tier of a test file, given relative to the checkout: the folder below tests/."""
    parts = Path(path).parts
    return parts[1] if len(parts) > 2 and parts[0] == "tests" else "(none)"


def is_long() -> bool:
    """True in `make test-long`."""
    return os.environ.get("TALLYHOUSE_TIER_LONG") == "1"


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Budget(config), "tier-budget")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = find_browser() is None
    for item in items:
        if tier_of(item.nodeid) != "browser":
            continue
        if missing:
            item.add_marker(pytest.mark.skip(reason=NO_BROWSER))  # allow: skip - said loudly


@pytest.hookimpl(tryfirst=True, optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """As many workers as cores this process may use: xdist counts those of the machine."""
    return len(os.sched_getaffinity(0))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Test by test to whoever is free, but ON_ONE_WORKER.

    xdist's own `--dist loadgroup` writes the group into a test's id, which pytest 9.2 takes no notice of.
    """
    return OneByOne(config, log)


class OneByOne(LoadScopeScheduling):
    """Hands out single tests, and some together."""

    def _split_scope(self, nodeid: str) -> str:
        return next((beginning for beginning in ON_ONE_WORKER if nodeid.startswith(beginning)), nodeid)


class Budget:
    """Adds up what each tier used, and prints it against what it may use."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._used_s: dict[str, float] = defaultdict(float)
        self._tests: dict[str, int] = defaultdict(int)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count one phase of one test."""
        tier = tier_of(report.nodeid)
        self._used_s[tier] += report.duration
        self._tests[tier] += report.when == "call"

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the table, and the loud lines."""
        workers = int(getattr(self._config.option, "numprocesses", None) or 1)
        if len(self._used_s) > 1 or is_long():
            self._print_table(terminalreporter, workers)
        if self._used_s.get("browser") is not None and find_browser() is None:
            terminalreporter.write_line(NO_BROWSER, red=True, bold=True)

    def _print_table(self, terminalreporter: pytest.TerminalReporter, workers: int) -> None:
        terminalreporter.section(f"budget per tier ({workers} at a time)")
        for tier in sorted(self._used_s, key=lambda t: list(BUDGET_S).index(t) if t in BUDGET_S else 99):
            used_s, may_s = self._used_s[tier] / workers, BUDGET_S.get(tier, 0)
            over = used_s > may_s and not is_long()
            line = f"{tier:<12} {self._tests[tier]:>5} tests  {used_s:7.1f} s of {may_s:>3} s"
            terminalreporter.write_line(line + ("   OVER ITS BUDGET" if over else ""), red=over)
        tests, total_s = sum(self._tests.values()), sum(self._used_s.values()) / workers
        terminalreporter.write_line(f"{'all':<12} {tests:>5} tests  {total_s:7.1f} s of {sum(BUDGET_S.values())} s")
