#!/usr/bin/env bash
# Everything `make` needs, from a fresh Debian or Ubuntu with Python >= 3.11: virtual environment, front-end files,
# fonts and libraries for PDF. Safe to run again: what has not changed is not done twice.
#
#   tools/bootstrap.sh            the product and its tests
#   tools/bootstrap.sh --browser  also Debian's chromium and SoftHSM, for the tests that need them
#
# A piece that cannot be installed is named in one line with its cure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

VENV=.venv
STAMPS=$VENV/stamps

say() { printf '%s\n' "$*"; }
fail() { printf 'bootstrap: %s\n' "$*" >&2; exit 1; }

# changed NAME FILE... : true when the files are not what they were when `done_with NAME FILE...` was said.
fingerprint() { cat "$@" 2>/dev/null | sha256sum | cut -d' ' -f1; }
changed() { local name=$1; shift; [ "$(cat "$STAMPS/$name" 2>/dev/null)" != "$(fingerprint "$@")" ]; }
done_with() { local name=$1; shift; mkdir -p "$STAMPS"; fingerprint "$@" > "$STAMPS/$name"; }

may_apt() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }
apt_updated=
apt_install() {
  if [ -z "$apt_updated" ]; then
    apt-get update -qq >/dev/null 2>&1 || true  # a source that does not answer need not be the one we want
    apt_updated=1
  fi
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1
}

# need WHY PACKAGE... : install Debian packages as root; else say in one line what is missing and how to get it.
need() {
  local why=$1; shift
  if may_apt; then
    say "installing $* ($why)"
    apt_install "$@" && return 0
  fi
  say "bootstrap: missing: $why. Cure: sudo apt-get install $*" >&2
  return 1
}

find_python() {
  local candidate
  for candidate in "${PYTHON:-python3}" python3.14 python3.13 python3.12 python3.11; do
    if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
      printf '%s' "$candidate"
      return
    fi
  done
  fail "no Python 3.11 or later. Cure: sudo apt-get install python3, or PYTHON=/path/to/python3 make …"
}

make_venv() {
  local python
  if [ -x $VENV/bin/python ] && $VENV/bin/python -c 'import pip' 2>/dev/null; then return; fi
  python=$(find_python)
  if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    need "Python's venv" python3-venv || exit 1
  fi
  say "making $VENV"
  "$python" -m venv $VENV
}

install_python() {
  local files=(requirements.txt requirements-embedded.txt requirements-dev.txt requirements-pkcs11.txt pyproject.toml)
  changed python "${files[@]}" || return 0
  say "installing Python packages"
  $VENV/bin/python -m pip install -q --disable-pip-version-check --require-hashes \
    -r requirements.txt -r requirements-embedded.txt -r requirements-dev.txt -r requirements-pkcs11.txt
  $VENV/bin/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
  done_with python "${files[@]}"
}

npm_command() {
  if command -v npm >/dev/null && command -v node >/dev/null; then
    npm "$@"
    return
  fi
  # No Node.js here: the one that comes as a wheel, in a virtual environment of its own.
  if [ ! -x var/node/bin/npm ]; then
    say "installing Node.js (once, for the front-end packages)"
    $VENV/bin/python -m venv var/node
    var/node/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-node.txt
  fi
  PATH="$PWD/var/node/bin:$PATH" var/node/bin/npm "$@"
}

install_front_end() {
  local files=(package-lock.json app/web/icons.txt tools/fetch_assets.py)
  local whole=node_modules/oidc-provider  # the last of the packages by name that tests and pages need
  if [ -d $whole ] && ! changed front-end "${files[@]}" && $VENV/bin/python tools/fetch_assets.py --check 2>/dev/null; then
    return
  fi
  if changed npm package-lock.json || [ ! -d $whole ]; then
    say "installing front-end packages"
    npm_command ci --silent --no-progress 2>&1 | grep -v 'npm warn' || true
    [ -d node_modules/htmx.org ] || fail "npm ci failed. Cure: run 'npm ci' and read what it says"
    done_with npm package-lock.json
  fi
  $VENV/bin/python tools/fetch_assets.py
  done_with front-end "${files[@]}"
}

has_library() { ldconfig -p 2>/dev/null | grep -q "$1" || /sbin/ldconfig -p 2>/dev/null | grep -q "$1"; }
has_chinese_font() { command -v fc-list >/dev/null && [ -n "$(fc-list :lang=zh-cn family 2>/dev/null)" ]; }

install_pdf() {
  local missing=()
  has_library libpango-1.0.so.0 || missing+=(libpango-1.0-0)
  has_library libpangoft2-1.0.so.0 || missing+=(libpangoft2-1.0-0)
  has_library libharfbuzz-subset.so.0 || missing+=(libharfbuzz-subset0)
  has_chinese_font || missing+=(fontconfig fonts-wqy-microhei)
  [ ${#missing[@]} = 0 ] || need "libraries and a Chinese font for PDF" "${missing[@]}" || true
}

install_browser() {
  command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null ||
    need "chromium for the browser tests, which are skipped without it" chromium || true
}

install_softhsm() {
  command -v softhsm2-util >/dev/null ||
    need "SoftHSM for the tests of a key kept in a module, which are skipped without it" softhsm2 || true
}

mkdir -p var
exec 9> var/bootstrap.lock
flock 9  # two makes at once take turns
make_venv
install_python
install_front_end
install_pdf
[ "${1:-}" != --browser ] || { install_browser; install_softhsm; }
