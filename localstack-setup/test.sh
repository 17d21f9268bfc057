#!/usr/bin/env bash
# Checks the cluster in the emulator: all nodes answer and agree, Tom is 630 through the load
# balancer and at each node alike, and what is not there is "not found".
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

geecache env check emulator "$@"
