# Written from geecache.yaml by `geecache env render`: change that, and render again.

name       = "geecache"
node_count = 6
source_url = "slowdb:?latency=50ms"
node_size = {
  cpu    = 512
  memory = 2048
}
environment = {
  GEECACHE_CACHE_BYTES       = "1GiB"
  GEECACHE_HOT_BYTES         = "16MiB"
  GEECACHE_LOAD_TIMEOUT      = "5s"
  GEECACHE_LOG_LEVEL         = "info"
  GEECACHE_NOT_FOUND_TTL     = "5s"
  GEECACHE_SNAPSHOT_BYTES    = "64MiB"
  GEECACHE_SNAPSHOT_INTERVAL = "5m"
  GEECACHE_TTL               = "1h"
}
region         = "us-west-2"
node_count_max = 12
api_count      = 2
spot_percent   = 50
on_demand_base = 3
zones          = 3
egress         = "endpoints"
allowed_cidrs  = ["203.0.113.0/24"]
alarm_emails   = ["oncall@example.com"]
