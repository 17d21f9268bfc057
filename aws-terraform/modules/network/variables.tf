variable "name" { type = string }
variable "region" { type = string }
variable "cidr" { type = string }
variable "zones" { type = number }
variable "egress" { type = string }
variable "nat_per_zone" { type = bool }
variable "node_port" { type = number }
variable "api_port" { type = number }
variable "allowed_cidrs" { type = list(string) }
variable "https" { type = bool }
variable "cloud_map" { type = bool }
variable "database" { type = bool }
variable "source_access" { type = map(object({ port = number, cidr = string })) }
variable "flow_logs" { type = bool }
variable "log_retention_days" { type = number }
variable "key_arn" { type = string }
