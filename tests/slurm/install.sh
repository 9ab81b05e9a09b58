#!/usr/bin/env bash
# Install Debian's Slurm, where it is not here: the programs alone, no service is started.
set -euo pipefail
PATH="$PATH:/usr/sbin:/usr/local/sbin"
missing=()
for program in munged slurmctld slurmd sbatch; do
    command -v "$program" > /dev/null || missing+=("$program")
done
if [[ ${#missing[@]} -eq 0 ]]; then exit; fi
if [[ "$(id -u)" != 0 ]] || ! command -v apt-get > /dev/null; then
    echo "Not here: ${missing[*]}. Install Slurm's daemons and clients, and munge (Debian: slurmctld slurmd slurm-client munge)." >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends slurmctld slurmd slurm-client munge > /dev/null
