#!/usr/bin/env bash
# Deploys a cluster in the emulator, or brings it up to date; returns when every node
# answers and all agree on one ring. Flags are those of geecache env up: --nodes 5,
# --image NAME (default geecache:latest), --timeout 2m, --json.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

geecache env up emulator "$@"
