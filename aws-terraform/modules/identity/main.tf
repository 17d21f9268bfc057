# What tasks may do. An execution role acts for ECS before a container starts
# (image, secrets, logs), one for each service, which reads no other's secrets; a
# task role is the container's own.

variable "name" { type = string }
variable "region" { type = string }
variable "account_id" { type = string }
variable "partition" { type = string }
variable "cluster_arn" { type = string }
variable "namespace" { type = string }
variable "repository_arn" { type = string }
variable "log_group_arns" { type = list(string) }
variable "own_key" { type = bool }
variable "key_arn" { type = string }
variable "snapshots" { type = bool }
variable "snapshots_arn" { type = string }
variable "secret_arns" { type = map(list(string)) }

data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ecs-tasks.amazonaws.com"]
    }

    # Only for tasks of this account: nobody else's ECS takes the role.
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [var.account_id]
    }
  }
}

locals {
  # A key is used through the service that it encrypts for, and not by itself.
  decrypt = [for s in [{
    Sid       = "Key"
    Effect    = "Allow"
    Action    = ["kms:Decrypt"]
    Resource  = [var.key_arn]
    Condition = { StringEquals = { "kms:ViaService" = "secretsmanager.${var.region}.amazonaws.com" } }
  }] : s if var.own_key]

  snapshots = [for s in [
    { Sid = "Snapshots", Effect = "Allow", Action = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"], Resource = ["${var.snapshots_arn}/*"] },
    { Sid = "SnapshotsList", Effect = "Allow", Action = ["s3:ListBucket"], Resource = [var.snapshots_arn] },
  ] : s if var.snapshots]

  snapshots_key = [for s in [{
    Sid       = "SnapshotsKey"
    Effect    = "Allow"
    Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
    Resource  = [var.key_arn]
    Condition = { StringEquals = { "kms:ViaService" = "s3.${var.region}.amazonaws.com" } }
  }] : s if var.snapshots && var.own_key]

  # Lookups know no resources; conditions narrow them to this deployment.
  discovery = [{
    Sid      = "Discovery"
    Effect   = "Allow"
    Action   = ["servicediscovery:DiscoverInstances", "servicediscovery:DiscoverInstancesRevision"]
    Resource = ["*"]
    Condition = {
      StringEquals = { "servicediscovery:NamespaceName" = var.namespace }
    }
  }]
}

resource "aws_iam_role" "execution" {
  for_each = toset(["node", "api"])

  name               = "${var.name}-${each.key}-execution"
  path               = "/geecache/"
  description        = "ECS, before a container of ${var.name}-${each.key} starts"
  assume_role_policy = data.aws_iam_policy_document.trust.json
}

resource "aws_iam_role_policy" "execution" {
  for_each = toset(["node", "api"])

  name = "start"
  role = aws_iam_role.execution[each.key].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat([
      # It logs in to all of ECR or to nothing.
      { Sid = "Login", Effect = "Allow", Action = ["ecr:GetAuthorizationToken"], Resource = ["*"] },
      { Sid = "Pull", Effect = "Allow", Action = ["ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer", "ecr:BatchGetImage"], Resource = [var.repository_arn] },
      { Sid = "Logs", Effect = "Allow", Action = ["logs:CreateLogStream", "logs:PutLogEvents"], Resource = [for arn in var.log_group_arns : "${arn}:*"] },
      { Sid = "Secrets", Effect = "Allow", Action = ["secretsmanager:GetSecretValue"], Resource = var.secret_arns[each.key] },
    ], local.decrypt)
  })
}

resource "aws_iam_role" "task" {
  for_each = toset(["node", "api"])

  name               = "${var.name}-${each.key}"
  path               = "/geecache/"
  description        = "Containers of ${var.name}-${each.key}"
  assume_role_policy = data.aws_iam_policy_document.trust.json
}

resource "aws_iam_role_policy" "task" {
  for_each = toset(["node", "api"])

  name = "run"
  role = aws_iam_role.task[each.key].id
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = concat(local.discovery, [for s in concat(local.snapshots, local.snapshots_key) : s if each.key == "node"])
  })
}

output "execution_role_arns" { value = { for role, r in aws_iam_role.execution : role => r.arn } }
output "node_role_arn" { value = aws_iam_role.task["node"].arn }
output "api_role_arn" { value = aws_iam_role.task["api"].arn }
