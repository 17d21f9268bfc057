#!/usr/bin/env bash
# Measures the emulator with geecache env bench, beside as many containers that only say
# hello: --only deploy,scale for less, --times 3 for fewer. It deploys and removes clusters
# of its own.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

hello=${HELLO_IMAGE:-geecache-hello:latest}
docker image inspect "$hello" >/dev/null 2>&1 || docker build --quiet --tag "$hello" localstack-setup/hello
geecache env bench emulator --hello "$hello" --output "benchmarks/results/env/emulator-$(date +%F).json" "$@"
