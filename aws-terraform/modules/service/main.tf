# One service: its task definition, and how it is deployed.

resource "aws_ecs_task_definition" "main" {
  family                   = var.name
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.size.cpu
  memory                   = var.size.memory
  execution_role_arn       = var.execution_role
  task_role_arn            = var.task_role

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.service.architecture
  }

  container_definitions = jsonencode([{
    name      = "geecache"
    image     = var.service.image
    essential = true
    command   = ["node"]
    user      = "65532:65532"

    readonlyRootFilesystem = true
    stopTimeout            = var.service.stop_timeout

    portMappings = [{ containerPort = var.port, hostPort = var.port, protocol = "tcp" }]

    # In the order of their names, or each plan would change the definition.
    environment = [for name in sort(keys(var.environment)) : { name = name, value = var.environment[name] }]
    secrets     = [for name in sort(keys(var.secrets)) : { name = name, valueFrom = var.secrets[name] }]

    # The image has no shell. It asks whether the process lives; whether it is
    # ready, the load balancer asks.
    healthCheck = {
      command     = ["CMD", "/geecache", "health"]
      interval    = 10
      timeout     = 5
      retries     = 3
      startPeriod = 15
    }

    linuxParameters = {
      capabilities = { drop = ["ALL"] }
    }

    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = var.log_group
        awslogs-region        = var.service.region
        awslogs-stream-prefix = "task"
        # A log that cannot be written must not hold up a request.
        mode            = "non-blocking"
        max-buffer-size = "4m"
      }
    }
  }])
}

resource "aws_ecs_service" "main" {
  name            = var.name
  cluster         = var.service.cluster_arn
  task_definition = aws_ecs_task_definition.main.arn
  desired_count   = var.desired_count
  propagate_tags  = "SERVICE"

  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 200
  health_check_grace_period_seconds  = var.load_balanced ? 30 : null

  enable_ecs_managed_tags = true

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  dynamic "capacity_provider_strategy" {
    for_each = local.strategy

    content {
      capacity_provider = capacity_provider_strategy.key
      weight            = capacity_provider_strategy.value.weight
      base              = capacity_provider_strategy.value.base
    }
  }

  network_configuration {
    subnets          = var.service.subnet_ids
    security_groups  = [var.security_group_id]
    assign_public_ip = var.service.public
  }

  dynamic "service_registries" {
    for_each = var.registered ? [1] : []

    content {
      registry_arn = var.registry_arn
    }
  }

  dynamic "load_balancer" {
    for_each = var.load_balanced ? [1] : []

    content {
      target_group_arn = var.target_group_arn
      container_name   = "geecache"
      container_port   = var.port
    }
  }

  # Auto-scaling's, or that of `geecache env scale`: an apply must not undo it.
  lifecycle {
    ignore_changes = [desired_count]
  }
}

locals {
  spot = var.service.strategy.spot_percent

  strategy = merge(
    local.spot == 100 && var.service.strategy.base == 0 ? {} : { FARGATE = { weight = 100 - local.spot, base = var.service.strategy.base } },
    local.spot == 0 ? {} : { FARGATE_SPOT = { weight = local.spot, base = 0 } },
  )
}

output "task_definition_arn" { value = aws_ecs_task_definition.main.arn }
