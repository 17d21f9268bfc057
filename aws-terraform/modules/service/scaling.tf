# How many tasks there are. Nodes are added when the CPU or the cache is too small;
# they are not stopped again unless scale_in is set, for a cache that shrinks
# forgets what it holds, and then evicts, and so would grow again.

resource "aws_appautoscaling_target" "main" {
  count = var.service.scaling.enabled ? 1 : 0

  service_namespace  = "ecs"
  resource_id        = "service/${var.service.cluster}/${aws_ecs_service.main.name}"
  scalable_dimension = "ecs:service:DesiredCount"
  min_capacity       = var.desired_count
  max_capacity       = var.max_count
}

resource "aws_appautoscaling_policy" "cpu" {
  count = var.service.scaling.enabled ? 1 : 0

  name               = "${var.name}-cpu"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.main[0].service_namespace
  resource_id        = aws_appautoscaling_target.main[0].resource_id
  scalable_dimension = aws_appautoscaling_target.main[0].scalable_dimension

  target_tracking_scaling_policy_configuration {
    target_value       = var.service.scaling.cpu_target
    disable_scale_in   = !var.scale_in
    scale_out_cooldown = 60
    scale_in_cooldown  = 300

    predefined_metric_specification {
      predefined_metric_type = "ECSServiceAverageCPUUtilization"
    }
  }
}

resource "aws_appautoscaling_policy" "evictions" {
  count = var.service.scaling.enabled && var.evictions.enabled ? 1 : 0

  name               = "${var.name}-evictions"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.main[0].service_namespace
  resource_id        = aws_appautoscaling_target.main[0].resource_id
  scalable_dimension = aws_appautoscaling_target.main[0].scalable_dimension

  target_tracking_scaling_policy_configuration {
    target_value       = var.evictions.target
    disable_scale_in   = !var.scale_in
    scale_out_cooldown = 180 # a new node takes over entries before it relieves the others
    scale_in_cooldown  = 900

    customized_metric_specification {
      namespace   = "GeeCache"
      metric_name = "geecache_evictions_live_per_second"
      statistic   = "Average"
      unit        = "Count/Second"

      dimensions {
        name  = "cluster"
        value = var.evictions.cluster
      }
    }
  }
}
