"""What the whole product of `make run` weighs when nothing happens.

Method: start the product with its demo in a folder of its own, on free ports; let it settle for IDLE_S; add up the
proportional set size (PSS: shared pages are counted once, divided among those who share them) of every process below
the launcher, PostgreSQL and Valkey included.

    make bench-memory
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

from bench.stage import at_most, said

ROOT = Path(__file__).resolve().parents[1]
IDLE_S = 20
START_S_MAX = 180
UP = "stop: Ctrl-C"


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address that nobody listens on."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def product_variables() -> dict[str, str]:
    """The environment of a product that meets no other one; servers named by variables would not be weighed."""
    web, headend, street, sms = free_ports(4)
    given = {
        name: value
        for name, value in os.environ.items()
        if name not in {"DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL"}
    }
    return given | {
        "VAR_DIR": str(ROOT / "var/bench-memory"),
        "WEB_PORT": str(web),
        "HEADEND_PORT": str(headend),
        "STREET_CONTROL": f"127.0.0.1:{street}",
        "SMS_URL": f"http://127.0.0.1:{sms}",
    }


def await_up(product: "subprocess.Popen[str]") -> None:
    """Read what the product says until it is up. Raises RuntimeError when it ends instead."""
    assert product.stdout is not None
    deadline = time.monotonic() + START_S_MAX
    heard: list[str] = []
    for line in product.stdout:
        heard.append(line)
        if UP in line:
            return
        if time.monotonic() > deadline:
            break
    raise RuntimeError("the product did not start:\n" + "".join(heard[-10:]))


def family(root: int) -> list[int]:
    """A process and all below it."""
    children: dict[int, list[int]] = defaultdict(list)
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        children[parent].append(int(stat.parent.name))
    found = [root]
    for pid in found:
        found.extend(children[pid])
    return found


def pss_kb(pid: int) -> int:
    """Proportional set size of a process in KiB; 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def name_of(pid: int) -> str:
    """What a process is in the product, from its command line."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").replace("\0", " ").strip()
    except (FileNotFoundError, ProcessLookupError):
        return "gone"
    if "wsgi:app" in words:
        return "web"
    for name in ("valkey", "postgres", "app.launcher.up"):
        if name in words:
            return name.rpartition(".")[2]
    command = [word for word in words.rpartition("tallyhouse ")[2].split()[:2] if not word.startswith("-")]
    return "-".join(command) or "other"


def weigh(root: int) -> None:
    """Print the figures of a running product."""
    pids = family(root)
    sums: dict[str, int] = defaultdict(int)
    web = max((pss_kb(pid) for pid in pids if name_of(pid) == "web"), default=0)
    for pid in pids:
        sums[name_of(pid)] += pss_kb(pid)
    for name, kb in sorted(sums.items(), key=lambda item: -item[1]):
        said(f"memory_{name.replace('-', '_')}", kb // 1024, "MB")
    at_most("memory_web_worker", web // 1024, "MB", 200)
    at_most("memory_whole_product", sum(sums.values()) // 1024, "MB", 900)


def main() -> None:
    """Start, settle, weigh, stop."""
    print(__doc__)
    product = subprocess.Popen(
        [sys.executable, "-m", "app.launcher.up"], cwd=ROOT, env=product_variables(), stdout=subprocess.PIPE, text=True
    )
    try:
        await_up(product)
        time.sleep(IDLE_S)
        weigh(product.pid)
    finally:
        product.send_signal(signal.SIGINT)
        product.communicate()


if __name__ == "__main__":
    main()
