#!/usr/bin/env bash
# Installs the Debian packages that demo and tests need. It says what is missing
# first, asks for nothing when all is there, and changes nothing else.
set -euo pipefail
cd "$(dirname "$0")"
mapfile -t want < <(grep -v '^#' debian.txt | cut -d' ' -f1)
missing=()
for p in "${want[@]}"; do
  dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing+=("$p")
done
if [ ${#missing[@]} -eq 0 ]; then
  echo "deps: all ${#want[@]} Debian packages are there"
  exit 0
fi
echo "deps: these Debian packages are missing and will be installed with apt-get:"
printf '  %s\n' "${missing[@]}"
if [ "$(id -u)" -ne 0 ]; then
  echo "deps: run 'make deps' as root, or install them yourself; tests that need them say so and skip" >&2
  exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get -o DPkg::Lock::Timeout=300 -q update
apt-get -o DPkg::Lock::Timeout=300 -q -y --no-install-recommends install "${missing[@]}"
