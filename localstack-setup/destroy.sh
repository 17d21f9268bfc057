#!/usr/bin/env bash
# Removes the cluster from the emulator, and looks whether anything is left there or in Docker.
# The emulator itself goes on: docker compose -f localstack-setup/docker-compose.yml down.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

geecache env down emulator "$@"
