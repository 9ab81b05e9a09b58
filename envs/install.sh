#!/usr/bin/env bash
# Install a pinned list into an environment, torch first: envs/install.sh PYTHON LIST
#
# On Linux the package index's torch brings CUDA libraries of some GB. TORCH says which build is taken:
#   auto  (the default) the CPU build where no NVIDIA GPU is found
#   cpu   the CPU build
#   cuda  what pip takes by itself
# The CPU build comes from PyTorch's own index, or from TORCH_CPU_INDEX. Where that cannot be reached, pip's own sources
# serve. They are never replaced: pip's configuration holds, and the index is only added, and only for torch.
set -euo pipefail

python="$1" list="$2"
choice="${TORCH:-auto}"
index="${TORCH_CPU_INDEX:-https://download.pytorch.org/whl/cpu}"
pip=("$python" -m pip install --disable-pip-version-check)

# Without a driver or a GPU nvidia-smi prints that, not lines `GPU 0: ...`.
has_gpu() {
    local gpus
    gpus="$(nvidia-smi --list-gpus 2>/dev/null)" && [[ "$gpus" == GPU* ]]
}

# pip would try for minutes. A thread, because a look-up of the name has no time limit of its own.
can_reach() {
    "$python" - "$1" 2>/dev/null <<'PROBE'
import os, sys, threading, urllib.request
reached = []
def ask():
    reached.append(urllib.request.urlopen(f"{sys.argv[1]}/torch/", timeout=5))
asking = threading.Thread(target=ask, daemon=True)
asking.start()
asking.join(5)
os._exit(not reached)
PROBE
}

if [[ ! "$choice" =~ ^(auto|cpu|cuda)$ ]]; then
    echo "TORCH=$choice: auto, cpu or cuda is allowed" >&2
    exit 2
fi
if [[ "$choice" == auto ]]; then
    if has_gpu; then
        choice=cuda
        echo "An NVIDIA GPU is here: torch comes with CUDA libraries (TORCH=cpu takes it without)."
    else
        choice=cpu
    fi
fi

torch="$(sed -n 's/^\(torch==[^[:space:]#]*\).*/\1/p' "$list")"
if [[ "$choice" == cpu && -n "$torch" && "$(uname)" == Linux ]]; then
    if can_reach "$index"; then
        echo "torch comes without CUDA, from $index (TORCH=cuda takes it with)."
        "${pip[@]}" --no-deps --extra-index-url "$index" "$torch"
    else
        echo "PyTorch's CPU wheels ($index) cannot be reached: torch is what pip finds, perhaps with CUDA (5 GB)."
    fi
fi
"${pip[@]}" -r "$list"
