#!/usr/bin/env bash
# Build an environment from its pinned list as a venv: envs/create.sh main -> envs/.venvs/main
# The workflow's rules find it there by themselves. PYTHON names the interpreter to build it with.
set -euo pipefail

name="${1:-}"
here="$(cd "$(dirname "$0")" && pwd)"
if [[ ! -f "$here/$name.txt" || -z "$name" ]]; then
    echo "usage: envs/create.sh NAME, where envs/NAME.txt is a pinned list" >&2
    exit 2
fi

venv="$here/.venvs/$name"
"${PYTHON:-python3}" -m venv --clear "$venv"
"$venv/bin/python" -m pip install --disable-pip-version-check -r "$here/$name.txt"
echo "built $venv"
