# What somebody must look at. Each alarm says in its description what to do first.

locals {
  ours = { cluster = var.name }

  alarms = merge(
    {
      no-api = {
        description = "No API server is ready: look at the last lines of the log group of the API, and at the service's events."
        namespace   = "AWS/ApplicationELB"
        metric      = "HealthyHostCount"
        statistic   = "Minimum"
        dimensions  = { LoadBalancer = var.balancer, TargetGroup = var.target_group }
        comparison  = "LessThanThreshold"
        threshold   = 1
        minutes     = 2
        missing     = "breaching"
      }
      api-errors = {
        description = "The API answers with errors of its own: look for them in its log; often the source fails or is slow."
        namespace   = "AWS/ApplicationELB"
        metric      = "HTTPCode_Target_5XX_Count"
        statistic   = "Sum"
        dimensions  = { LoadBalancer = var.balancer, TargetGroup = var.target_group }
        comparison  = "GreaterThanThreshold"
        threshold   = 10
        minutes     = 5
        missing     = "notBreaching"
      }
      nodes-missing = {
        description = "Nodes see fewer members than there should be: look at stopped tasks and at the registry's errors."
        namespace   = "GeeCache"
        metric      = "geecache_registry_members"
        statistic   = "Minimum"
        dimensions  = local.ours
        comparison  = "LessThanThreshold"
        threshold   = var.node_count
        minutes     = 5
        missing     = "breaching"
      }
      view-old = {
        description = "Nodes have not heard of their registry for long: they go on with what they know, and do not see who comes and goes."
        namespace   = "GeeCache"
        metric      = "geecache_registry_view_age_seconds"
        statistic   = "Maximum"
        dimensions  = local.ours
        comparison  = "GreaterThanThreshold"
        threshold   = 120
        minutes     = 3
        missing     = "notBreaching"
      }
      load-failures = {
        description = "Loads from the source fail: is it up, and can nodes reach it?"
        namespace   = "GeeCache"
        metric      = "geecache_load_failures_total"
        statistic   = "Sum"
        dimensions  = local.ours
        comparison  = "GreaterThanThreshold"
        threshold   = 50
        minutes     = 5
        missing     = "notBreaching"
      }
      evictions = {
        description = "Entries are evicted before they expire, and auto-scaling has not helped: the cache is too small. Give nodes more memory, or raise node_count_max."
        namespace   = "GeeCache"
        metric      = "geecache_evictions_live_per_second"
        statistic   = "Average"
        dimensions  = local.ours
        comparison  = "GreaterThanThreshold"
        threshold   = 500
        minutes     = 15
        missing     = "notBreaching"
      }
      handshakes-refused = {
        description = "Nodes refuse each other: do all have the same secret, cluster ID and version?"
        namespace   = "GeeCache"
        metric      = "geecache_handshakes_refused_total"
        statistic   = "Sum"
        dimensions  = local.ours
        comparison  = "GreaterThanThreshold"
        threshold   = 5
        minutes     = 5
        missing     = "notBreaching"
      }
    },
    { for role, service in var.services : "${role}-cpu" => {
      description = "CPU of ${service} is high, and auto-scaling has not helped: raise its largest number or its size."
      namespace   = "AWS/ECS"
      metric      = "CPUUtilization"
      statistic   = "Average"
      dimensions  = { ClusterName = var.cluster, ServiceName = service }
      comparison  = "GreaterThanThreshold"
      threshold   = 85
      minutes     = 10
      missing     = "notBreaching"
    } },
    { for role, service in var.services : "${role}-memory" => {
      description = "Memory of ${service} is nearly used up: GeeCache refuses loads before that; lower GEECACHE_CACHE_BYTES or raise the size."
      namespace   = "AWS/ECS"
      metric      = "MemoryUtilization"
      statistic   = "Average"
      dimensions  = { ClusterName = var.cluster, ServiceName = service }
      comparison  = "GreaterThanThreshold"
      threshold   = 90
      minutes     = 5
      missing     = "notBreaching"
    } },
    var.snapshots ? {
      snapshots-old = {
        description = "A node has saved no snapshot for half an hour: its log says what is missing. Until then a restart of all nodes is a cold one."
        namespace   = "GeeCache"
        metric      = "geecache_snapshot_age_seconds"
        statistic   = "Maximum"
        dimensions  = local.ours
        comparison  = "GreaterThanThreshold"
        threshold   = 1800
        minutes     = 5
        missing     = "notBreaching"
      }
    } : {},
    var.has_database ? {
      database-storage = {
        description = "The database's disk is nearly full."
        namespace   = "AWS/RDS"
        metric      = "FreeStorageSpace"
        statistic   = "Minimum"
        dimensions  = { DBInstanceIdentifier = var.database }
        comparison  = "LessThanThreshold"
        threshold   = 2147483648
        minutes     = 15
        missing     = "notBreaching"
      }
    } : {},
  )
}

resource "aws_sns_topic" "alarms" {
  count = var.alarms || var.monthly_budget > 0 ? 1 : 0

  name              = "${var.name}-alarms"
  kms_master_key_id = var.key_arn
}

data "aws_iam_policy_document" "topic" {
  count = var.alarms || var.monthly_budget > 0 ? 1 : 0

  statement {
    sid       = "Publish"
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.alarms[0].arn]

    principals {
      type        = "Service"
      identifiers = ["cloudwatch.amazonaws.com", "budgets.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.current.account_id]
    }
  }
}

data "aws_caller_identity" "current" {}

resource "aws_sns_topic_policy" "alarms" {
  count = var.alarms || var.monthly_budget > 0 ? 1 : 0

  arn    = aws_sns_topic.alarms[0].arn
  policy = data.aws_iam_policy_document.topic[0].json
}

resource "aws_sns_topic_subscription" "email" {
  for_each = var.alarms || var.monthly_budget > 0 ? toset(var.emails) : toset([])

  topic_arn = aws_sns_topic.alarms[0].arn
  protocol  = "email"
  endpoint  = each.value
}

resource "aws_cloudwatch_metric_alarm" "main" {
  for_each = { for name, a in local.alarms : name => a if var.alarms && (a.namespace != "GeeCache" || var.metrics) }

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.description
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  statistic           = each.value.statistic
  dimensions          = each.value.dimensions
  comparison_operator = each.value.comparison
  threshold           = each.value.threshold
  period              = 60
  evaluation_periods  = each.value.minutes
  treat_missing_data  = each.value.missing
  alarm_actions       = [aws_sns_topic.alarms[0].arn]
  ok_actions          = [aws_sns_topic.alarms[0].arn]
}

# The deployment's own costs, by its tag: activate geecache-deployment as a cost
# allocation tag once in the account, or the budget sees nothing.
resource "aws_budgets_budget" "main" {
  count = var.monthly_budget > 0 ? 1 : 0

  name         = var.name
  budget_type  = "COST"
  time_unit    = "MONTHLY"
  limit_amount = tostring(var.monthly_budget)
  limit_unit   = "USD"

  cost_filter {
    name   = "TagKeyValue"
    values = [join("$", ["user:geecache-deployment", var.name])]
  }

  dynamic "notification" {
    for_each = { ACTUAL = 80, FORECASTED = 100 }

    content {
      notification_type         = notification.key
      comparison_operator       = "GREATER_THAN"
      threshold                 = notification.value
      threshold_type            = "PERCENTAGE"
      subscriber_sns_topic_arns = [aws_sns_topic.alarms[0].arn]
    }
  }

  depends_on = [aws_sns_topic_policy.alarms]
}
