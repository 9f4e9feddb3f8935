"""Where the embedded servers live: private, short enough for a socket, and never by changing what is not ours."""

import os
import stat
from pathlib import Path

import pytest

from app.launcher.errors import ForeignFolder
from app.launcher.home import (
    SOCKET_FOLDER_BYTES_MAX,
    find_home,
    hold,
    kept_secrets,
    make_home,
    private_folder,
)
from app.launcher.secrets import product_secrets


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_home_is_below_var_and_its_sockets_are_for_one_user_only(var_dir: Path) -> None:
    home = make_home(var_dir)
    assert home.folder == var_dir.resolve() / "stack"
    assert mode_of(home.sockets) == 0o700
    assert mode_of(home.folder) & stat.S_IRWXO == 0
    assert home.sockets.stat().st_uid == home.uid != 0


def test_root_keeps_data_elsewhere_when_others_may_not_pass_to_var(closed_var_dir: Path) -> None:
    home = find_home(closed_var_dir)
    expected = Path("/var/lib") if os.geteuid() == 0 else closed_var_dir.resolve()
    assert home.folder.parent == expected


def test_two_checkouts_never_share_a_home(tmp_path: Path) -> None:
    one, other = find_home(tmp_path / "one/var"), find_home(tmp_path / "other/var")
    assert one.folder != other.folder
    assert one.sockets != other.sockets


def test_a_long_checkout_gets_a_short_socket_folder(tmp_path: Path) -> None:
    home = find_home(tmp_path / ("long" * 30) / "var")
    assert len(os.fsencode(home.sockets)) <= SOCKET_FOLDER_BYTES_MAX
    assert not home.sockets.is_relative_to(tmp_path)


def test_a_link_in_the_place_of_a_private_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "trap").symlink_to("/etc")
    before = mode_of(Path("/etc"))
    with pytest.raises(ForeignFolder, match="belongs to another user"):
        private_folder(tmp_path / "trap", uid=os.geteuid(), gid=os.getegid())
    assert mode_of(Path("/etc")) == before


def test_secrets_are_made_once_and_only_we_may_read_them(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    first = kept_secrets(path, {"a": 32})
    second = kept_secrets(path, {"a": 32, "b": 16})
    assert (first["a"], len(second["b"])) == (second["a"], 32)
    assert mode_of(path) == 0o600


def test_the_products_secrets_outlive_a_restart(var_dir: Path) -> None:
    assert product_secrets(var_dir) == product_secrets(var_dir)
    assert len(product_secrets(var_dir)["KEY_ENCRYPTION_KEY"]) == 64


def test_only_one_holds_a_lock(tmp_path: Path) -> None:
    first = hold(tmp_path / "lock")
    assert first is not None
    assert hold(tmp_path / "lock") is None
    os.close(first)
    again = hold(tmp_path / "lock")
    assert again is not None
    os.close(again)
