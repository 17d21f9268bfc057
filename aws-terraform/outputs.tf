output "url" {
  description = "Where the API answers: URL/api?key=Tom, with the API's token."
  value       = "${var.certificate_arn == "" ? "http" : "https"}://${module.balancer.dns_name}"
}

output "region" {
  description = "The region that everything is in."
  value       = var.region
}

output "repository" {
  description = "Where the image is pushed to."
  value       = module.images.url
}

output "image" {
  description = "The image that the tasks run."
  value       = local.service.image
}

output "cluster" {
  description = "Name of the ECS cluster, which is also GeeCache's cluster ID."
  value       = module.cluster.name
}

output "services" {
  description = "The ECS services, and how many tasks each begins with."
  value = {
    node = { name = local.node_service, count = var.node_count, port = local.node_port }
    api  = { name = local.api_service, count = var.api_count, port = local.api_port }
  }
}

output "task_definitions" {
  description = "The task definitions that ought to run, sorted, with a tab between them."
  value       = join("\t", sort([module.nodes.task_definition_arn, module.api.task_definition_arn]))
}

output "auto_scaling" {
  description = "Whether the number of tasks is auto-scaling's affair."
  value       = local.auto_scaling
}

output "log_groups" {
  description = "Log groups by role."
  value       = { for role, g in module.cluster.log_groups : role => g.name }
}

output "secrets" {
  description = "ARNs of the secrets, whose values deploy.sh draws. Terraform never sees them."
  value = {
    cluster_secret = module.secrets.cluster_secret_arn
    api_token      = module.secrets.api_token_arn
  }
}

output "registry" {
  description = "The URL through which nodes find each other."
  value       = local.registry
}

output "snapshots" {
  description = "Bucket of the snapshots; empty if there is none."
  value       = var.snapshots ? module.snapshots[0].bucket : ""
}

output "dashboard" {
  description = "The dashboard in CloudWatch's console."
  value       = "https://${var.region}.console.aws.amazon.com/cloudwatch/home?region=${var.region}#dashboards:name=${module.observability.dashboard}"
}

output "database" {
  description = "Host of the database; empty if there is none."
  value       = local.database ? module.database[0].host : ""
}

output "security_groups" {
  description = "Security groups of nodes and API, for a task that looks at them from inside the VPC."
  value       = { node = module.network.node_group_id, api = module.network.api_group_id }
}

output "subnets" {
  description = "Subnets that the tasks run in."
  value       = local.service.subnet_ids
}
