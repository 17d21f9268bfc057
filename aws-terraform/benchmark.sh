#!/usr/bin/env bash
# Measures the deployment from here: load through the load balancer, and how long two
# more nodes take from the call to their place in the ring. Results go to a file.
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
export GEECACHE_API_TOKEN

say "load: $rate requests a second for $duration, through the load balancer and the internet"
result=.last-load-$(date -u +%Y%m%dT%H%M%SZ).json
go run .. load --target "$url" --rate "$rate" --duration "$duration" --dist zipf --keys 3 --key-format 'user:%d' --expect any --json "$result"

if [ -n "$scale" ]; then
  before=$(desired "$name-node")
  say "from $before to $((before + 2)) nodes, and back"
  set_nodes() { aws ecs update-service --cluster "$name" --service "$name-node" --desired-count "$1" --query service.serviceName --output text >/dev/null; }
  trap 'set_nodes "$before"' EXIT
  set_nodes "$((before + 2))"
  tfdeploy wait -url "$url" -nodes "$((before + 2))" -timeout 10m
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
echo "result: aws-terraform/$result"
