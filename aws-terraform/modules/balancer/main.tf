# The load balancer: the API for the world, and nothing else of the API servers.

variable "name" { type = string }
variable "vpc_id" { type = string }
variable "subnet_ids" { type = list(string) }
variable "security_group_id" { type = string }
variable "api_port" { type = number }
variable "certificate_arn" { type = string }
variable "deletion_protection" { type = bool }

locals {
  https = var.certificate_arn != ""
}

resource "aws_lb" "main" {
  #checkov:skip=CKV_AWS_150:the variable deletion_protection decides; what is only tried out must go away again
  #checkov:skip=CKV_AWS_91:the API servers log requests with their IDs, CloudWatch counts them, and a bucket of access logs holds addresses of people
  #checkov:skip=CKV2_AWS_28:a read-only API that asks for a token, bounds what it reads, and is narrowed by allowed_cidrs; whoever wants WAF attaches it to the ARN
  name                       = var.name
  load_balancer_type         = "application"
  internal                   = false
  subnets                    = var.subnet_ids
  security_groups            = [var.security_group_id]
  drop_invalid_header_fields = true
  enable_deletion_protection = var.deletion_protection
  idle_timeout               = 30
}

resource "aws_lb_target_group" "api" {
  #checkov:skip=CKV_AWS_378:TLS ends at the load balancer; behind it only security groups of this VPC reach the port, and nodes prove their secret by challenge
  name                          = "${var.name}-api"
  vpc_id                        = var.vpc_id
  port                          = var.api_port
  protocol                      = "HTTP"
  target_type                   = "ip"
  deregistration_delay          = 15
  load_balancing_algorithm_type = "least_outstanding_requests"

  # Readiness, and not life: a server that drains gets no more requests.
  health_check {
    path                = "/readyz"
    matcher             = "200"
    interval            = 5
    timeout             = 3
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }
}

resource "aws_lb_listener" "http" {
  #checkov:skip=CKV_AWS_2:with a certificate it only redirects to HTTPS; without one there is no HTTPS to be had
  load_balancer_arn = aws_lb.main.arn
  port              = 80
  protocol          = "HTTP"
  tags              = { Name = "${var.name}-http" }

  default_action {
    type = local.https ? "redirect" : "fixed-response"

    dynamic "redirect" {
      for_each = local.https ? [1] : []

      content {
        port        = "443"
        protocol    = "HTTPS"
        status_code = "HTTP_301"
      }
    }

    dynamic "fixed_response" {
      for_each = local.https ? [] : [1]

      content {
        content_type = "text/plain"
        message_body = "not found"
        status_code  = "404"
      }
    }
  }
}

resource "aws_lb_listener" "https" {
  count = local.https ? 1 : 0

  load_balancer_arn = aws_lb.main.arn
  port              = 443
  protocol          = "HTTPS"
  certificate_arn   = var.certificate_arn
  ssl_policy        = "ELBSecurityPolicy-TLS13-1-2-2021-06"
  tags              = { Name = "${var.name}-https" }

  default_action {
    type = "fixed-response"

    fixed_response {
      content_type = "text/plain"
      message_body = "not found"
      status_code  = "404"
    }
  }
}

# Metrics, state and the peer protocol stay inside.
resource "aws_lb_listener_rule" "api" {
  listener_arn = local.https ? aws_lb_listener.https[0].arn : aws_lb_listener.http.arn
  priority     = 10
  tags         = { Name = "${var.name}-api" }

  condition {
    path_pattern {
      values = ["/api", "/api/*", "/healthz", "/readyz"]
    }
  }

  action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.api.arn
  }
}

output "dns_name" { value = aws_lb.main.dns_name }
output "arn_suffix" { value = aws_lb.main.arn_suffix }
output "target_group_arn_suffix" { value = aws_lb_target_group.api.arn_suffix }

output "target_group_arn" {
  value = aws_lb_target_group.api.arn

  # ECS refuses a target group that no load balancer uses.
  depends_on = [aws_lb_listener_rule.api]
}
