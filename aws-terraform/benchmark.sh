#!/usr/bin/env bash
# Measures the deployment from here: load through the load balancer, and how long two
# more nodes take from the call until all agree on one ring. Results go to files. What it
# does is geecache env and geecache load; nodes are asked through the API.
#
#   ./benchmark.sh [--rate 500] [--duration 30s] [--no-scale]
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=deployment.sh
. "$(dirname "${BASH_SOURCE[0]}")/deployment.sh"

rate=500 duration=30s scale=1
while (($#)); do
  case $1 in
  --rate) rate=${2:?--rate needs a number} && shift ;;
  --duration) duration=${2:?--duration needs a time} && shift ;;
  --no-scale) scale='' ;;
  *) die "there is no option $1: there are --rate, --duration and --no-scale" ;;
  esac
  shift
done
need terraform aws go
credentials
prepare
url=$(output url)
GEECACHE_API_TOKEN=$(api_token)
export GEECACHE_API_TOKEN GEECACHE_ENV_NAME=$name GEECACHE_ENV_TIMEOUT=10m

say "load: $rate requests a second for $duration, through the load balancer and the internet"
stamp=$(date -u +%Y%m%dT%H%M%SZ)
geecache env status aws
geecache load --target "$url" --rate "$rate" --duration "$duration" --dist zipf --keys 3 --key-format 'user:%d' --expect any --allow-saturated --json ".last-load-$stamp.json"

if [ -n "$scale" ]; then
  before=$(desired "$name-node")
  say "from $before to $((before + 2)) nodes, and back"
  trap 'geecache env scale aws "$before"' EXIT
  geecache env scale aws "$((before + 2))" --json >".last-scale-$stamp.json"
  cat ".last-scale-$stamp.json"
fi

say "what CloudWatch has"
for role in node api; do
  echo "log streams of $role: $(aws logs describe-log-streams --log-group-name "/geecache/$name/$role" --query 'length(logStreams)' --output text)"
done
for namespace in GeeCache ECS/ContainerInsights; do
  key=cluster
  [ "$namespace" = GeeCache ] || key=ClusterName
  echo "metrics in $namespace: $(aws cloudwatch list-metrics --namespace "$namespace" --dimensions "Name=$key,Value=$name" --query 'length(Metrics)' --output text)"
done
echo "results: aws-terraform/.last-load-$stamp.json and .last-scale-$stamp.json"
