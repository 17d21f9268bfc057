# The ECS cluster, its logs, and the names under which nodes find each other.

variable "name" { type = string }
variable "vpc_id" { type = string }
variable "node_service" { type = string }
variable "cloud_map" { type = bool }
variable "container_insights" { type = bool }
variable "log_retention_days" { type = number }
variable "key_arn" { type = string }

resource "aws_ecs_cluster" "main" {
  #checkov:skip=CKV_AWS_65:on unless container_insights is false or in a Learner Lab, where credits are few
  name = var.name

  setting {
    name  = "containerInsights"
    value = var.container_insights ? "enabled" : "disabled"
  }
}

resource "aws_ecs_cluster_capacity_providers" "main" {
  cluster_name       = aws_ecs_cluster.main.name
  capacity_providers = ["FARGATE", "FARGATE_SPOT"]

  default_capacity_provider_strategy {
    capacity_provider = "FARGATE"
    weight            = 1
  }
}

resource "aws_cloudwatch_log_group" "main" {
  #checkov:skip=CKV_AWS_338:the variable log_retention_days decides; logs of a cache say little after a year
  for_each = toset(["node", "api"])

  name              = "/geecache/${var.name}/${each.key}"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.key_arn
}

resource "aws_service_discovery_private_dns_namespace" "main" {
  count = var.cloud_map ? 1 : 0

  name        = "${var.name}.internal"
  description = "GeeCache ${var.name}"
  vpc         = var.vpc_id
  tags        = { Name = var.name }
}

# ECS enters its tasks here, by their IDs, and takes them out; nodes only look.
resource "aws_service_discovery_service" "node" {
  count = var.cloud_map ? 1 : 0

  name          = var.node_service
  force_destroy = true
  tags          = { Name = var.node_service }

  dns_config {
    namespace_id   = aws_service_discovery_private_dns_namespace.main[0].id
    routing_policy = "MULTIVALUE"

    dns_records {
      type = "A"
      ttl  = 10
    }
  }

  # ECS tells the health of its tasks by the containers' checks.
  health_check_custom_config {
    failure_threshold = 1
  }
}

output "name" {
  value = aws_ecs_cluster.main.name

  # A service with a capacity provider needs the cluster to have that first.
  depends_on = [aws_ecs_cluster_capacity_providers.main]
}

output "arn" { value = aws_ecs_cluster.main.arn }
output "namespace" { value = var.cloud_map ? aws_service_discovery_private_dns_namespace.main[0].name : "" }
output "registry_arn" { value = var.cloud_map ? aws_service_discovery_service.node[0].arn : "" }
output "log_groups" { value = { for role, g in aws_cloudwatch_log_group.main : role => { name = g.name, arn = g.arn } } }
