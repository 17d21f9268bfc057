# GeeCache on ECS Fargate: a service of cache nodes that find each other, and a
# service of API servers behind a load balancer.

provider "aws" {
  region = var.region

  default_tags {
    tags = merge(var.tags, { geecache-deployment = var.name })
  }
}

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}

locals {
  lab = var.learner_lab

  # A Learner Lab has neither Cloud Map nor IAM, and credits to save.
  egress         = local.lab ? "public" : var.egress
  cloud_map      = !local.lab
  auto_scaling   = var.auto_scaling && !local.lab
  own_key        = var.own_key && !local.lab
  flow_logs      = var.flow_logs && !local.lab
  monthly_budget = local.lab ? 0 : var.monthly_budget
  database       = var.database && !local.lab
  metrics        = var.cloudwatch_metrics && !local.lab
  insights       = var.container_insights && !local.lab
  node_size      = local.lab ? { cpu = 256, memory = 512 } : var.node_size
  api_size       = local.lab ? { cpu = 256, memory = 512 } : var.api_size

  node_port = 8001
  api_port  = 9999

  node_service = "${var.name}-node"
  api_service  = "${var.name}-api"

  # Named, and not taken from the resource, so that policies are known in a plan.
  cluster_arn = "arn:${data.aws_partition.current.partition}:ecs:${var.region}:${data.aws_caller_identity.current.account_id}:cluster/${var.name}"

  registry = local.cloud_map ? "cloudmap://${module.cluster.namespace}/${local.node_service}?region=${var.region}&register=false" : "ecs://${var.name}/${local.node_service}?region=${var.region}"

  node_environment = merge(
    var.snapshots ? { GEECACHE_SNAPSHOT = "s3://${module.snapshots[0].bucket}/${var.name}?region=${var.region}" } : {},
    local.database && var.source_url == "" ? module.database[0].environment : {},
    var.source_url == "" ? {} : { GEECACHE_SOURCE = var.source_url },
    var.source_query == "" ? {} : { GEECACHE_QUERY = var.source_query },
    var.environment,
  )
}

module "key" {
  source = "./modules/key"
  count  = local.own_key ? 1 : 0

  name       = var.name
  region     = var.region
  account_id = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition
}

locals {
  key_arn = local.own_key ? module.key[0].arn : null
}

module "network" {
  source = "./modules/network"

  name               = var.name
  region             = var.region
  cidr               = var.vpc_cidr
  zones              = var.zones
  egress             = local.egress
  nat_per_zone       = var.nat_per_zone
  node_port          = local.node_port
  api_port           = local.api_port
  allowed_cidrs      = var.allowed_cidrs
  https              = var.certificate_arn != ""
  cloud_map          = local.cloud_map
  database           = local.database
  source_access      = var.source_access
  flow_logs          = local.flow_logs
  log_retention_days = var.log_retention_days
  key_arn            = local.key_arn
}

module "images" {
  source = "./modules/images"

  name         = var.name
  key_arn      = local.key_arn
  force_delete = !var.deletion_protection
}

module "secrets" {
  source = "./modules/secrets"

  name          = var.name
  key_arn       = local.key_arn
  recovery_days = var.deletion_protection ? 7 : 0
}

module "snapshots" {
  source = "./modules/snapshots"
  count  = var.snapshots ? 1 : 0

  name         = "${var.name}-snapshots-${data.aws_caller_identity.current.account_id}-${var.region}"
  days         = var.snapshot_days
  key_arn      = local.key_arn
  force_delete = !var.deletion_protection
}

# In a Learner Lab there is one role for everything, and no other can be made.
data "aws_iam_role" "lab" {
  count = local.lab ? 1 : 0
  name  = "LabRole"
}

module "identity" {
  source = "./modules/identity"
  count  = local.lab ? 0 : 1

  name           = var.name
  region         = var.region
  account_id     = data.aws_caller_identity.current.account_id
  partition      = data.aws_partition.current.partition
  cluster_arn    = local.cluster_arn
  namespace      = module.cluster.namespace
  repository_arn = module.images.arn
  log_group_arns = [for g in module.cluster.log_groups : g.arn]
  own_key        = local.own_key
  key_arn        = local.key_arn
  snapshots      = var.snapshots
  snapshots_arn  = var.snapshots ? module.snapshots[0].arn : ""

  # The execution role reads them before a container starts; the container has no right to.
  secret_arns = {
    node = concat(
      [module.secrets.cluster_secret_arn],
      local.database ? [module.database[0].secret_arn] : [],
      # A key after the ARN is not the policy's.
      [for arn in values(var.node_secrets) : join(":", slice(split(":", arn), 0, 7))],
    )
    api = [module.secrets.cluster_secret_arn, module.secrets.api_token_arn]
  }
}

module "cluster" {
  source = "./modules/cluster"

  name               = var.name
  vpc_id             = module.network.vpc_id
  node_service       = local.node_service
  cloud_map          = local.cloud_map
  container_insights = local.insights
  log_retention_days = var.log_retention_days
  key_arn            = local.key_arn
}

module "balancer" {
  source = "./modules/balancer"

  name                = var.name
  vpc_id              = module.network.vpc_id
  subnet_ids          = module.network.public_subnet_ids
  security_group_id   = module.network.balancer_group_id
  api_port            = local.api_port
  certificate_arn     = var.certificate_arn
  deletion_protection = var.deletion_protection
}

module "database" {
  source = "./modules/database"
  count  = local.database ? 1 : 0

  name                = var.name
  class               = var.database_class
  multi_az            = var.database_multi_az
  ca_file             = var.database_ca_file
  subnet_ids          = module.network.private_subnet_ids
  security_group_id   = module.network.database_group_id
  key_arn             = local.key_arn
  deletion_protection = var.deletion_protection
}

locals {
  common_environment = merge({
    GEECACHE_CLUSTER_ID = var.name
    GEECACHE_REGISTRY   = local.registry
    GEECACHE_LOG_FORMAT = "json"
    # Shorter than ECS's patience, so that a node ends by itself.
    GEECACHE_DRAIN_TIMEOUT = "${var.stop_timeout - 15}s"
    GEECACHE_EMF           = tostring(local.metrics)
    AWS_REGION             = var.region
    }, local.metrics ? {
    GEECACHE_CLOUDWATCH_DIMENSIONS = var.cloudwatch_dimensions
    GEECACHE_CLOUDWATCH_METRICS    = join(",", var.cloudwatch_names)
  } : {})

  # What both services have in common.
  service = {
    cluster      = module.cluster.name
    cluster_arn  = module.cluster.arn
    region       = var.region
    image        = var.image == "" ? "${module.images.url}:${var.image_tag}" : var.image
    architecture = var.architecture
    stop_timeout = var.stop_timeout
    subnet_ids   = local.egress == "public" ? module.network.public_subnet_ids : module.network.private_subnet_ids
    public       = local.egress == "public"
    strategy     = { spot_percent = var.spot_percent, base = var.on_demand_base }
    scaling = {
      enabled    = local.auto_scaling
      cpu_target = var.cpu_target
    }
  }
}

module "nodes" {
  source = "./modules/service"

  name              = local.node_service
  service           = local.service
  size              = local.node_size
  desired_count     = var.node_count
  max_count         = max(var.node_count, var.node_count_max)
  port              = local.node_port
  security_group_id = module.network.node_group_id
  log_group         = module.cluster.log_groups["node"].name
  execution_role    = local.lab ? data.aws_iam_role.lab[0].arn : module.identity[0].execution_role_arns["node"]
  task_role         = local.lab ? data.aws_iam_role.lab[0].arn : module.identity[0].node_role_arn
  registered        = local.cloud_map
  registry_arn      = module.cluster.registry_arn
  scale_in          = var.node_scale_in
  evictions         = { enabled = local.metrics, target = var.evictions_target, cluster = var.name }

  environment = merge(local.common_environment, { GEECACHE_LISTEN = "0.0.0.0:${local.node_port}" }, local.node_environment)
  secrets = merge(
    { GEECACHE_SECRET = module.secrets.cluster_secret_arn },
    local.database && var.source_url == "" ? { PGPASSWORD = "${module.database[0].secret_arn}:password::" } : {},
    var.node_secrets,
  )
}

module "api" {
  source = "./modules/service"

  name              = local.api_service
  service           = local.service
  size              = local.api_size
  desired_count     = var.api_count
  max_count         = max(var.api_count, var.api_count_max)
  port              = local.api_port
  security_group_id = module.network.api_group_id
  log_group         = module.cluster.log_groups["api"].name
  execution_role    = local.lab ? data.aws_iam_role.lab[0].arn : module.identity[0].execution_role_arns["api"]
  task_role         = local.lab ? data.aws_iam_role.lab[0].arn : module.identity[0].api_role_arn
  load_balanced     = true
  target_group_arn  = module.balancer.target_group_arn
  scale_in          = true

  environment = merge(local.common_environment, {
    GEECACHE_ROLE   = "client"
    GEECACHE_LISTEN = "0.0.0.0:${local.api_port}"
  })
  secrets = {
    GEECACHE_SECRET    = module.secrets.cluster_secret_arn
    GEECACHE_API_TOKEN = module.secrets.api_token_arn
  }
}

module "observability" {
  source = "./modules/observability"

  name           = var.name
  region         = var.region
  alarms         = var.alarms
  emails         = var.alarm_emails
  monthly_budget = local.monthly_budget
  key_arn        = local.key_arn
  cluster        = module.cluster.name
  services       = { node = local.node_service, api = local.api_service }
  node_count     = var.node_count
  insights       = local.insights
  metrics        = local.metrics
  snapshots      = var.snapshots
  balancer       = module.balancer.arn_suffix
  target_group   = module.balancer.target_group_arn_suffix
  has_database   = local.database
  database       = local.database ? module.database[0].identifier : ""
  log_groups     = { for role, g in module.cluster.log_groups : role => g.name }
}
