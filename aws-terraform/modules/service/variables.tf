variable "name" { type = string }

variable "service" {
  description = "What all services of the deployment have in common."
  type = object({
    cluster      = string
    cluster_arn  = string
    region       = string
    image        = string
    architecture = string
    stop_timeout = number
    subnet_ids   = list(string)
    public       = bool
    strategy     = object({ spot_percent = number, base = number })
    scaling      = object({ enabled = bool, cpu_target = number })
  })
}

variable "size" { type = object({ cpu = number, memory = number }) }
variable "desired_count" { type = number }
variable "max_count" { type = number }
variable "port" { type = number }
variable "security_group_id" { type = string }
variable "log_group" { type = string }
variable "execution_role" { type = string }
variable "task_role" { type = string }
variable "environment" { type = map(string) }

variable "secrets" {
  description = "Environment variables by the ARNs of their secrets."
  type        = map(string)
}

# Whether there is one is known in a plan; its ARN is not.
variable "registered" {
  description = "Whether ECS enters the tasks in the service of Cloud Map registry_arn."
  type        = bool
  default     = false
}

variable "registry_arn" {
  type    = string
  default = ""
}

variable "load_balanced" {
  description = "Whether the tasks are targets of target_group_arn."
  type        = bool
  default     = false
}

variable "target_group_arn" {
  type    = string
  default = ""
}

variable "scale_in" {
  description = "Whether auto-scaling stops tasks, too."
  type        = bool
}

variable "evictions" {
  description = "Scale on evictions of entries that had not expired: how many a second and node, of which cluster."
  type        = object({ enabled = bool, target = number, cluster = string })
  default     = { enabled = false, target = 0, cluster = "" }
}
