# A small private PostgreSQL database to load from. RDS draws its password and keeps
# it in Secrets Manager, where ECS reads it: it is in no state and in no variable.

variable "name" { type = string }
variable "class" { type = string }
variable "multi_az" { type = bool }
variable "ca_file" { type = string }
variable "subnet_ids" { type = list(string) }
variable "security_group_id" { type = string }
variable "key_arn" { type = string }
variable "deletion_protection" { type = bool }

resource "aws_db_subnet_group" "main" {
  name       = var.name
  subnet_ids = var.subnet_ids
}

resource "aws_db_parameter_group" "main" {
  name   = var.name
  family = "postgres16"

  parameter {
    name  = "rds.force_ssl"
    value = "1"
  }

  # What a cache asks for should take milliseconds.
  parameter {
    name  = "log_min_duration_statement"
    value = "500"
  }
}

resource "aws_db_instance" "main" {
  #checkov:skip=CKV_AWS_293:the variable deletion_protection decides
  #checkov:skip=CKV_AWS_157:the variable database_multi_az decides; what is lost with it is told by a cache serving what it has
  #checkov:skip=CKV_AWS_353:Performance Insights is not to be had for the smallest classes
  #checkov:skip=CKV_AWS_118:enhanced monitoring needs a role of its own, and one query by key has little to be looked into
  #checkov:skip=CKV_AWS_161:tokens of IAM end after 15 minutes, and the pool of a node opens connections whenever it must
  identifier     = var.name
  engine         = "postgres"
  engine_version = "16"
  instance_class = var.class
  multi_az       = var.multi_az

  allocated_storage     = 20
  max_allocated_storage = 100
  storage_type          = "gp3"
  storage_encrypted     = true
  kms_key_id            = var.key_arn

  db_name                       = "geecache"
  username                      = "geecache"
  manage_master_user_password   = true
  master_user_secret_kms_key_id = var.key_arn

  db_subnet_group_name   = aws_db_subnet_group.main.name
  parameter_group_name   = aws_db_parameter_group.main.name
  vpc_security_group_ids = [var.security_group_id]
  publicly_accessible    = false

  auto_minor_version_upgrade      = true
  backup_retention_period         = 7
  copy_tags_to_snapshot           = true
  enabled_cloudwatch_logs_exports = ["postgresql"]

  deletion_protection       = var.deletion_protection
  skip_final_snapshot       = !var.deletion_protection
  final_snapshot_identifier = var.deletion_protection ? "${var.name}-last" : null
}

# RDS would draw a new password each week, and tasks know the one that they began
# with. After a rotation deploy.sh --restart gives them the new one.
resource "aws_secretsmanager_secret_rotation" "main" {
  #checkov:skip=CKV_AWS_304:running tasks keep the password that they began with: a rotation belongs together with deploy.sh --restart
  secret_id = aws_db_instance.main.master_user_secret[0].secret_arn

  rotation_rules {
    automatically_after_days = 365
  }
}

output "identifier" { value = aws_db_instance.main.identifier }
output "host" { value = aws_db_instance.main.address }
output "secret_arn" { value = aws_db_instance.main.master_user_secret[0].secret_arn }

output "environment" {
  description = "What nodes are told; the password comes in PGPASSWORD. Without ca_file the name is not verified, for the image does not hold RDS's authorities."
  value = {
    GEECACHE_SOURCE = "postgres://geecache@${aws_db_instance.main.address}:5432/geecache?${var.ca_file == "" ? "sslmode=require" : "sslmode=verify-full&sslrootcert=${var.ca_file}"}"
  }
}
