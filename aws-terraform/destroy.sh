#!/usr/bin/env bash
# Destroys everything of the deployment, and looks for what is left.
#
#   ./destroy.sh [--vars FILE.tfvars] [--yes] [--after 4h]
#
# With --after it returns at once, and destroys after that time as long as this
# machine runs; a later --after takes its place.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=deployment.sh
. "$(dirname "${BASH_SOURCE[0]}")/deployment.sh"

after=''
while (($#)); do
  case $1 in
  --vars) use_vars "${2:?--vars needs a file}" && shift ;;
  --yes) yes=1 ;;
  --after) after=${2:?--after needs a time} && shift ;;
  *) die "there is no option $1: there are --vars, --yes and --after" ;;
  esac
  shift
done

if [ -n "$after" ]; then
  [[ $after =~ ^([0-9]+)([smh])$ ]] || die "--after is $after: use a time such as 90m or 4h"
  case ${BASH_REMATCH[2]} in s) unit=1 ;; m) unit=60 ;; h) unit=3600 ;; esac
  deadline=$(($(date +%s) + BASH_REMATCH[1] * unit))
  printf '%s\n' "$deadline" >.last-deadline
  # By the clock, and not by one long sleep: a machine that slept catches up. Whoever
  # finds another deadline in the file has been replaced.
  # shellcheck disable=SC2016 # the inner shell expands it
  nohup bash -c 'while [ "$(date +%s)" -lt "$1" ]; do sleep 20; [ "$(cat .last-deadline)" = "$1" ] || exit 0; done; ./destroy.sh --yes' _ "$deadline" >.last-destroy.log 2>&1 &
  echo "it is destroyed in $after if this machine runs then; what came of it is in aws-terraform/.last-destroy.log"
  exit 0
fi

need terraform aws
credentials
prepare
[ "$deletion_protection" = false ] ||
  die "deletion_protection is set: set it to false, run ./deploy.sh, and come again"
confirm "Destroy $name in $region, account $account, with its images, snapshots and database?"
tf destroy -auto-approve | sed -n '/^Destroy complete/p; /^Error/p'
rm -f .last-deadline

say "what AWS still lists (deleted things are listed for a while)"
leftovers | sed -n 's/.*"ResourceARN": "\(.*\)".*/  \1/p'
