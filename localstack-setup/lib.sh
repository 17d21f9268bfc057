# shellcheck shell=bash
# What the scripts here share.
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

export GEECACHE_ENV_ENDPOINT=${GEECACHE_ENV_ENDPOINT:-${AWS_ENDPOINT_URL:-http://127.0.0.1:${EMULATOR_PORT:-4566}}}

# geecache: the program, GEECACHE names another one. It is built when it has changed.
geecache() {
  if [[ -z ${GEECACHE:-} ]]; then
    command -v go >/dev/null || {
      echo "Go is needed to build geecache: install it, or name a built geecache by the variable GEECACHE" >&2
      return 1
    }
    go build -o bin/geecache .
    GEECACHE=bin/geecache
  fi
  "$GEECACHE" "$@"
}
