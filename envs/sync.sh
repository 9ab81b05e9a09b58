#!/usr/bin/env bash
# Write the pins of main.txt and vllm.txt into main.yaml and vllm.yaml, which must hold them themselves.
set -euo pipefail
cd "$(dirname "$0")"
for name in main vllm; do
    {
        sed '/- pip:$/q' "$name.yaml"
        sed -n 's/^\([A-Za-z].*==.*\)$/      - \1/p' "$name.txt"
    } > "$name.yaml.part"
    mv "$name.yaml.part" "$name.yaml"
done
