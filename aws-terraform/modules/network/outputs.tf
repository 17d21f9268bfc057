output "vpc_id" { value = aws_vpc.main.id }
output "public_subnet_ids" { value = [for s in aws_subnet.public : s.id] }
output "private_subnet_ids" { value = [for s in aws_subnet.private : s.id] }
output "balancer_group_id" { value = aws_security_group.balancer.id }
output "api_group_id" { value = aws_security_group.api.id }
output "node_group_id" { value = aws_security_group.node.id }
output "database_group_id" { value = var.database ? aws_security_group.database[0].id : "" }
