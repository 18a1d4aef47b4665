#!/usr/bin/env bash
# Make a virtual environment with pip in it: make_venv.sh PYTHON FOLDER
# Debian and Ubuntu ship Python without ensurepip; then pip's own wheel is fetched with apt-get and
# unpacked without root.
set -euo pipefail
python=$1 folder=$2

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
    echo "error: $python is missing or older than Python 3.10; name another one: make PYTHON=python3.11" >&2
    exit 1
fi
if "$python" -c 'import ensurepip, venv' 2>/dev/null && "$python" -m venv "$folder"; then
    exit 0
fi
if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    echo "error: $python has no ensurepip and there is no apt-get; install Python's venv package" >&2
    exit 1
fi

rm -rf "$folder"
"$python" -m venv --without-pip "$folder"
state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT
mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
: >"$state/status"
apt=(apt-get -qq -o "Dir::State::Lists=$state/lists" -o "Dir::State::status=$state/status"
    -o "Dir::Cache=$state/cache" -o APT::Sandbox::User=)
if ! { "${apt[@]}" update && cd "$state" && "${apt[@]}" download python3-pip-whl; }; then
    echo "error: $python has no ensurepip and pip could not be fetched; install Python's venv package" >&2
    exit 1
fi
cd - >/dev/null
dpkg-deb -x "$state"/python3-pip-whl_*.deb "$state/unpacked"
wheel=$(echo "$state"/unpacked/usr/share/python-wheels/pip-*.whl)
"$folder/bin/python" "$wheel/pip" install --quiet --no-index --find-links "$(dirname "$wheel")" pip
