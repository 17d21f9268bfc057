# The secrets without their values: deploy.sh lets Secrets Manager draw those, so
# that they are in no state, no plan and no file.

variable "name" { type = string }
variable "key_arn" { type = string }
variable "recovery_days" { type = number }

resource "aws_secretsmanager_secret" "cluster" {
  #checkov:skip=CKV2_AWS_57:a rotation needs nodes that take both secrets for a while, in steps that DEPLOYMENT.md tells
  name                    = "${var.name}/cluster-secret"
  description             = "What GeeCache's nodes prove to each other"
  kms_key_id              = var.key_arn
  recovery_window_in_days = var.recovery_days
}

resource "aws_secretsmanager_secret" "api" {
  #checkov:skip=CKV2_AWS_57:a rotation needs nodes that take both secrets for a while, in steps that DEPLOYMENT.md tells
  name                    = "${var.name}/api-token"
  description             = "The token that GeeCache's API asks its clients for"
  kms_key_id              = var.key_arn
  recovery_window_in_days = var.recovery_days
}

output "cluster_secret_arn" { value = aws_secretsmanager_secret.cluster.arn }
output "api_token_arn" { value = aws_secretsmanager_secret.api.arn }
