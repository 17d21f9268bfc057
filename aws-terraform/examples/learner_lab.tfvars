# AWS Academy's Learner Lab. learner_lab alone decides the rest: public subnets, the
# role LabRole, the ECS API instead of Cloud Map, the smallest tasks.
name               = "geecache-lab"
region             = "us-west-2"
learner_lab        = true
alarms             = false
log_retention_days = 1
