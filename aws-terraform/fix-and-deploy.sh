#!/usr/bin/env bash
# Adopts what a failed run, or one whose state is lost, has left in the account, then
# deploys, then benchmarks. Takes the options of deploy.sh.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=deployment.sh
. "$(dirname "${BASH_SOURCE[0]}")/deployment.sh"
options=()
while (($#)); do
  case $1 in
  --vars) use_vars "${2:?--vars needs a file}" && shift ;; # deploy.sh remembers them
  *) options+=("$1") ;;
  esac
  shift
done

need terraform aws go
credentials
prepare
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

say "what is there and not in the state"
tf plan -out="$work/plan" >/dev/null
terraform show -json "$work/plan" >"$work/plan.json"
{
  leftovers || echo '{}'
  aws ec2 describe-route-tables --filters "Name=tag:geecache-deployment,Values=$name" --output json
  # In a Learner Lab these two may not be asked for, and nothing of them is ours.
  aws iam list-roles --path-prefix /geecache/ --output json 2>/dev/null || true
  aws budgets describe-budgets --account-id "$account" --output json 2>/dev/null || true
  printf '{"Account": "%s"}\n' "$account"
} >"$work/found"
tfdeploy adopt -plan "$work/plan.json" <"$work/found" >"$work/imports"
while IFS=$'\t' read -r to id; do
  echo "  $to: $id"
  tf import "$to" "$id" </dev/null >"$work/import.log" 2>&1 ||
    { tail -5 "$work/import.log" && echo "  not adopted: it may be gone already"; }
done <"$work/imports"

./deploy.sh ${options[@]+"${options[@]}"}
./benchmark.sh
