# --- What is deployed -----------------------------------------------------------

variable "name" {
  description = "Name of the deployment: the cluster's ID, and the beginning of each resource's name."
  type        = string
  default     = "geecache"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "name: use 3 to 20 lower-case letters, digits and hyphens, a letter first (load balancers' names are short)."
  }
}

variable "region" {
  description = "Region of AWS."
  type        = string
  default     = "us-west-2"
}

variable "tags" {
  description = "Tags for everything, besides geecache-deployment."
  type        = map(string)
  default     = {}
}

variable "learner_lab" {
  description = "For AWS Academy's Learner Lab: the role LabRole instead of roles of our own, no Cloud Map, no auto-scaling, no budget, no key, and the smallest sizes."
  type        = bool
  default     = false
}

variable "image_tag" {
  description = "Tag of the image in the deployment's own ECR repository. Tags are immutable: a new build takes a new one."
  type        = string
  default     = "latest"
}

variable "image" {
  description = "Image to run in place of the one in the deployment's own repository, with its tag or digest."
  type        = string
  default     = ""
}

variable "architecture" {
  description = "Processor of the tasks: X86_64, or ARM64, which is a fifth cheaper. The image must be built for it."
  type        = string
  default     = "X86_64"

  validation {
    condition     = contains(["X86_64", "ARM64"], var.architecture)
    error_message = "architecture: use X86_64 or ARM64."
  }
}

# --- Nodes and API --------------------------------------------------------------

variable "node_count" {
  description = "Cache nodes at the start, and the fewest that auto-scaling leaves."
  type        = number
  default     = 3

  validation {
    condition     = var.node_count >= 1 && var.node_count <= 1000
    error_message = "node_count: use 1 to 1000 (Cloud Map tells of no more than 1000)."
  }
}

variable "node_count_max" {
  description = "Most cache nodes that auto-scaling starts."
  type        = number
  default     = 6
}

variable "node_size" {
  description = "CPU units (1024 are one vCPU) and MiB of memory of a cache node; half of the memory is cache."
  type        = object({ cpu = number, memory = number })
  default     = { cpu = 256, memory = 512 }
}

variable "api_count" {
  description = "API servers at the start, and the fewest that auto-scaling leaves."
  type        = number
  default     = 1
}

variable "api_count_max" {
  description = "Most API servers that auto-scaling starts."
  type        = number
  default     = 4
}

variable "api_size" {
  description = "CPU units and MiB of memory of an API server."
  type        = object({ cpu = number, memory = number })
  default     = { cpu = 256, memory = 512 }
}

variable "spot_percent" {
  description = "How much of each service runs on Fargate Spot, in percent, beyond on_demand_base tasks."
  type        = number
  default     = 0

  validation {
    condition     = var.spot_percent >= 0 && var.spot_percent <= 100
    error_message = "spot_percent: use 0 to 100."
  }
}

variable "on_demand_base" {
  description = "Tasks of each service that are never on Spot."
  type        = number
  default     = 1
}

variable "stop_timeout" {
  description = "Seconds between SIGTERM and SIGKILL. A node leaves within them; on Spot, ECS gives the same after its notice of two minutes."
  type        = number
  default     = 60

  validation {
    condition     = var.stop_timeout >= 30 && var.stop_timeout <= 120
    error_message = "stop_timeout: use 30 to 120 seconds (Fargate allows no more)."
  }
}

variable "environment" {
  description = "Further GEECACHE_ variables of the cache nodes, such as GEECACHE_TTL (geecache node --help lists them)."
  type        = map(string)
  default     = {}
}

variable "node_secrets" {
  description = "Further variables of the cache nodes whose values are secrets: by name, the ARN of a secret in Secrets Manager, with :KEY:: after it for one of its keys. GEECACHE_SOURCE takes a URL with a password."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for arn in values(var.node_secrets) : can(regex("^arn:[^:]+:secretsmanager:[^:]+:[0-9]+:secret:[^:]+(:[^:]*:[^:]*:[^:]*)?$", arn))])
    error_message = "node_secrets: use ARNs such as arn:aws:secretsmanager:us-west-2:123456789012:secret:source-url-AbCdEf."
  }
}

variable "source_url" {
  description = "URL of what misses are loaded from (geecache node --source). Empty: the database of this deployment, or else the demonstration database in each node."
  type        = string
  default     = ""
}

variable "source_query" {
  description = "Query of an SQL source, with $1 for the key."
  type        = string
  default     = ""
}

variable "source_access" {
  description = "Where nodes may connect to for their source, besides HTTPS and the database of this deployment: by name, a port and a CIDR block."
  type        = map(object({ port = number, cidr = string }))
  default     = {}
}

variable "auto_scaling" {
  description = "Scale the services: both on CPU, the nodes also on evictions of entries that had not expired."
  type        = bool
  default     = true
}

variable "cpu_target" {
  description = "CPU that auto-scaling aims at, in percent."
  type        = number
  default     = 60
}

variable "evictions_target" {
  description = "Evictions of entries that had not expired, a second and node, above which a node is added: the cache is too small."
  type        = number
  default     = 50
}

variable "node_scale_in" {
  description = "Let auto-scaling stop nodes when CPU is low. Each one that stops takes its part of the cache's capacity along."
  type        = bool
  default     = false
}

# --- Network --------------------------------------------------------------------

variable "vpc_cidr" {
  description = "The VPC's addresses, /16 to /20."
  type        = string
  default     = "10.42.0.0/16"

  validation {
    condition     = can(cidrsubnet(var.vpc_cidr, 4, 15)) && try(tonumber(split("/", var.vpc_cidr)[1]) >= 16 && tonumber(split("/", var.vpc_cidr)[1]) <= 20, false)
    error_message = "vpc_cidr: use a block such as 10.42.0.0/16, of /16 to /20."
  }
}

variable "zones" {
  description = "Availability zones to spread over."
  type        = number
  default     = 2

  validation {
    condition     = var.zones == 2 || var.zones == 3
    error_message = "zones: use 2 or 3 (the load balancer needs two)."
  }
}

variable "egress" {
  description = "How tasks reach AWS: nat (private subnets, NAT gateways), endpoints (private subnets, VPC endpoints, no internet at all) or public (public subnets and addresses, which security groups close; the cheapest)."
  type        = string
  default     = "nat"

  validation {
    condition     = contains(["nat", "endpoints", "public"], var.egress)
    error_message = "egress: use nat, endpoints or public."
  }
}

variable "nat_per_zone" {
  description = "A NAT gateway in each zone instead of one for all."
  type        = bool
  default     = false
}

variable "flow_logs" {
  description = "Log the connections that the VPC refuses."
  type        = bool
  default     = false
}

variable "allowed_cidrs" {
  description = "Who may reach the load balancer. The API asks for a token besides."
  type        = list(string)
  default     = ["0.0.0.0/0"]

  validation {
    condition     = alltrue([for c in var.allowed_cidrs : can(cidrhost(c, 0))])
    error_message = "allowed_cidrs: use blocks such as 203.0.113.0/24."
  }
}

variable "certificate_arn" {
  description = "Certificate of ACM for the load balancer. With it, HTTP is redirected to HTTPS; without, the API's token travels in the clear."
  type        = string
  default     = ""
}

variable "deletion_protection" {
  description = "Refuse to delete the load balancer, the database and what the buckets and repositories hold."
  type        = bool
  default     = false
}

# --- Watching -------------------------------------------------------------------

variable "container_insights" {
  description = "ECS's own metrics for each task and service."
  type        = bool
  default     = true
}

variable "cloudwatch_metrics" {
  description = "Nodes and API servers send their metrics to CloudWatch, through their logs. Alarms and scaling by evictions need it. Each has its price: deploy.sh says it."
  type        = bool
  default     = true
}

variable "cloudwatch_dimensions" {
  description = "How finely: cluster, for the cluster and its groups, whose number does not grow with the nodes; or node, for each process as well."
  type        = string
  default     = "cluster"

  validation {
    condition     = contains(["cluster", "node"], var.cloudwatch_dimensions)
    error_message = "cloudwatch_dimensions: use cluster or node."
  }
}

variable "cloudwatch_names" {
  description = "Names of the metrics that CloudWatch gets, with * for any letters; none: all. METRICS_SETUP.md has those that alarms, scaling and the dashboard here need."
  type        = list(string)
  default     = []
}

variable "log_retention_days" {
  description = "How long CloudWatch keeps logs."
  type        = number
  default     = 14
}

variable "own_key" {
  description = "Encrypt logs, secrets, images, snapshots, alarms and the database with a KMS key of the deployment's own instead of those of AWS."
  type        = bool
  default     = false
}

variable "alarms" {
  description = "Make alarms, and a topic that they go to."
  type        = bool
  default     = true
}

variable "alarm_emails" {
  description = "Addresses that alarms and the budget's warnings are sent to. AWS asks each to confirm."
  type        = list(string)
  default     = []
}

variable "monthly_budget" {
  description = "Budget of the deployment a month in US dollars, of which 80% spent or 100% foreseen is told to alarm_emails; 0: none."
  type        = number
  default     = 0
}

# --- Data -----------------------------------------------------------------------

variable "snapshots" {
  description = "Keep snapshots of the hottest entries in S3, from which nodes start warm."
  type        = bool
  default     = true
}

variable "snapshot_days" {
  description = "How long snapshots are kept."
  type        = number
  default     = 7
}

variable "database" {
  description = "Make a small private PostgreSQL database for the nodes to load from."
  type        = bool
  default     = false
}

variable "database_class" {
  description = "Size of the database."
  type        = string
  default     = "db.t4g.micro"
}

variable "database_ca_file" {
  description = "File in the image with the authorities of RDS, by which nodes verify the database's certificate. Empty: they do not, and the connection is encrypted all the same."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^(/[A-Za-z0-9._/-]+)?$", var.database_ca_file))
    error_message = "database_ca_file: use a path such as /rds.pem."
  }
}

variable "database_multi_az" {
  description = "A standby of the database in another zone."
  type        = bool
  default     = false
}
