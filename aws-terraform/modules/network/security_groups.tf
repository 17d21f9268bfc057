# Who may speak to whom. The load balancer is the only one that the world reaches;
# the peer port answers nodes and API servers, and no one else.

resource "aws_security_group" "balancer" {
  #checkov:skip=CKV2_AWS_5:other modules attach it
  name        = "${var.name}-balancer"
  description = "The load balancer"
  vpc_id      = aws_vpc.main.id
  tags        = { Name = "${var.name}-balancer" }
}

resource "aws_security_group" "api" {
  #checkov:skip=CKV2_AWS_5:other modules attach it
  name        = "${var.name}-api"
  description = "API servers"
  vpc_id      = aws_vpc.main.id
  tags        = { Name = "${var.name}-api" }
}

resource "aws_security_group" "node" {
  #checkov:skip=CKV2_AWS_5:other modules attach it
  name        = "${var.name}-node"
  description = "Cache nodes"
  vpc_id      = aws_vpc.main.id
  tags        = { Name = "${var.name}-node" }
}

resource "aws_security_group" "endpoints" {
  #checkov:skip=CKV2_AWS_5:other modules attach it
  count = var.egress == "endpoints" ? 1 : 0

  name        = "${var.name}-endpoints"
  description = "VPC endpoints"
  vpc_id      = aws_vpc.main.id
  tags        = { Name = "${var.name}-endpoints" }
}

resource "aws_security_group" "database" {
  #checkov:skip=CKV2_AWS_5:other modules attach it
  count = var.database ? 1 : 0

  name        = "${var.name}-database"
  description = "The database"
  vpc_id      = aws_vpc.main.id
  tags        = { Name = "${var.name}-database" }
}

locals {
  groups = merge(
    { balancer = aws_security_group.balancer.id, api = aws_security_group.api.id, node = aws_security_group.node.id },
    var.egress == "endpoints" ? { endpoints = aws_security_group.endpoints[0].id } : {},
    var.database ? { database = aws_security_group.database[0].id } : {},
  )

  # Connections inside the VPC, each of which needs a rule at both ends.
  paths = merge(
    {
      balancer-api = { from = "balancer", to = "api", port = var.api_port }
      api-node     = { from = "api", to = "node", port = var.node_port }
      node-node    = { from = "node", to = "node", port = var.node_port }
    },
    var.egress == "endpoints" ? {
      api-endpoints  = { from = "api", to = "endpoints", port = 443 }
      node-endpoints = { from = "node", to = "endpoints", port = 443 }
    } : {},
    var.database ? { node-database = { from = "node", to = "database", port = 5432 } } : {},
  )

  doors = { for pair in setproduct(var.https ? [80, 443] : [80], var.allowed_cidrs) : "${pair[0]}-${pair[1]}" => { port = pair[0], cidr = pair[1] } }

  # AWS's interfaces, wherever they are. With endpoints only S3 is outside of the VPC.
  outside = merge(
    var.egress == "endpoints" ? {} : {
      api-https  = { from = "api", port = 443, cidr = "0.0.0.0/0" }
      node-https = { from = "node", port = 443, cidr = "0.0.0.0/0" }
    },
    { for name, to in var.source_access : "node-${name}" => { from = "node", port = to.port, cidr = to.cidr } },
  )
}

resource "aws_vpc_security_group_ingress_rule" "world" {
  for_each = local.doors

  security_group_id = local.groups["balancer"]
  description       = "The API's clients"
  ip_protocol       = "tcp"
  from_port         = each.value.port
  to_port           = each.value.port
  cidr_ipv4         = each.value.cidr
  tags              = { Name = "${var.name}-world-${each.key}" }
}

resource "aws_vpc_security_group_ingress_rule" "inside" {
  for_each = local.paths

  security_group_id            = local.groups[each.value.to]
  description                  = "From ${each.value.from}"
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
  referenced_security_group_id = local.groups[each.value.from]
  tags                         = { Name = "${var.name}-in-${each.key}" }
}

resource "aws_vpc_security_group_egress_rule" "inside" {
  for_each = local.paths

  security_group_id            = local.groups[each.value.from]
  description                  = "To ${each.value.to}"
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
  referenced_security_group_id = local.groups[each.value.to]
  tags                         = { Name = "${var.name}-out-${each.key}" }
}

resource "aws_vpc_security_group_egress_rule" "outside" {
  for_each = local.outside

  security_group_id = local.groups[each.value.from]
  description       = "To AWS or the source"
  ip_protocol       = "tcp"
  from_port         = each.value.port
  to_port           = each.value.port
  cidr_ipv4         = each.value.cidr
  tags              = { Name = "${var.name}-out-${each.key}" }
}

resource "aws_vpc_security_group_egress_rule" "s3" {
  for_each = var.egress == "endpoints" ? toset(["api", "node"]) : toset([])

  security_group_id = local.groups[each.key]
  description       = "To S3: layers of images, snapshots"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  prefix_list_id    = aws_vpc_endpoint.s3.prefix_list_id
  tags              = { Name = "${var.name}-out-${each.key}-s3" }
}
