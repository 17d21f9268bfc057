# As little as works, and still with roles and Cloud Map of its own: for a look.
name               = "geecache-min"
node_count         = 2
node_count_max     = 2
egress             = "public"
auto_scaling       = false
container_insights = false
cloudwatch_metrics = false
alarms             = false
snapshots          = false
log_retention_days = 1
spot_percent       = 100
on_demand_base     = 0
