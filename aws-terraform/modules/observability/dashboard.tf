# One page: is it well, is it fast, is it large enough, what does the source bear.

locals {
  loads = {
    "Requests and hits of the cache, a minute" = { statistic = "Sum", metrics = ["geecache_requests_total", "geecache_hits_total", "geecache_misses_total"] }
    "Loads from the source, a minute"          = { statistic = "Sum", metrics = ["geecache_loads_total", "geecache_load_failures_total", "geecache_singleflight_suppressed_total"] }
    "Evictions before expiry, a second"        = { statistic = "Average", metrics = ["geecache_evictions_live_per_second"] }
    "Members that nodes see"                   = { statistic = "Minimum", metrics = ["geecache_registry_members", "geecache_registry_kept"] }
    "Age of the view, seconds"                 = { statistic = "Maximum", metrics = ["geecache_registry_view_age_seconds"] }
    "Requests between nodes, a minute"         = { statistic = "Sum", metrics = ["geecache_peer_requests_total", "geecache_peer_errors_total", "geecache_stand_in_requests_total"] }
  }

  # Each widget: title, statistic, and its metrics as CloudWatch writes them.
  panels = concat(
    [
      { title = "API: requests a minute", stat = "Sum", metrics = [
        ["AWS/ApplicationELB", "RequestCount", "LoadBalancer", var.balancer],
        ["AWS/ApplicationELB", "HTTPCode_Target_5XX_Count", "LoadBalancer", var.balancer],
      ] },
      { title = "API: time to answer, 99%", stat = "p99", metrics = [
        ["AWS/ApplicationELB", "TargetResponseTime", "LoadBalancer", var.balancer],
      ] },
      { title = "CPU, percent", stat = "Average", metrics = [
        for role, service in var.services : ["AWS/ECS", "CPUUtilization", "ClusterName", var.cluster, "ServiceName", service]
      ] },
      { title = "Memory, percent", stat = "Average", metrics = [
        for role, service in var.services : ["AWS/ECS", "MemoryUtilization", "ClusterName", var.cluster, "ServiceName", service]
      ] },
    ],
    [for title, p in local.loads : { title = title, stat = p.statistic, metrics = [for m in p.metrics : ["GeeCache", m, "cluster", var.name]] } if var.metrics],
    var.insights ? [{ title = "Tasks", stat = "Average", metrics = [
      for role, service in var.services : ["ECS/ContainerInsights", "RunningTaskCount", "ClusterName", var.cluster, "ServiceName", service]
    ] }] : [],
  )
}

resource "aws_cloudwatch_dashboard" "main" {
  dashboard_name = var.name

  dashboard_body = jsonencode({
    widgets = concat(
      [for i, p in local.panels : {
        type   = "metric"
        x      = 8 * (i % 3)
        y      = 6 * floor(i / 3)
        width  = 8
        height = 6
        properties = {
          title   = p.title
          region  = var.region
          view    = "timeSeries"
          stat    = p.stat
          period  = 60
          metrics = p.metrics
        }
      }],
      [{
        type   = "log"
        x      = 0
        y      = 6 * (1 + floor(length(local.panels) / 3))
        width  = 24
        height = 6
        properties = {
          title  = "Warnings and errors"
          region = var.region
          view   = "table"
          query  = "SOURCE '${var.log_groups["node"]}' | SOURCE '${var.log_groups["api"]}' | fields @timestamp, level, msg, err, @logStream | filter level in [\"WARN\", \"ERROR\"] | sort @timestamp desc | limit 50"
        }
      }],
    )
  })
}

output "dashboard" { value = aws_cloudwatch_dashboard.main.dashboard_name }
output "topic_arn" { value = length(aws_sns_topic.alarms) > 0 ? aws_sns_topic.alarms[0].arn : "" }
