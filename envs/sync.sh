#!/usr/bin/env bash
# Write the pins of main.txt into main.yaml, which must hold them itself.
set -euo pipefail
cd "$(dirname "$0")"
{
    sed '/- pip:$/q' main.yaml
    sed -n 's/^\([A-Za-z].*==.*\)$/      - \1/p' main.txt
} > main.yaml.part
mv main.yaml.part main.yaml
