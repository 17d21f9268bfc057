# Three zones, no way to the internet, Spot beyond three tasks, TLS, alarms, a budget.
name           = "geecache-prod"
zones          = 3
egress         = "endpoints"
flow_logs      = true
own_key        = true
architecture   = "ARM64"
node_count     = 6
node_count_max = 24
node_size      = { cpu = 1024, memory = 4096 }
api_count      = 3
api_count_max  = 12
api_size       = { cpu = 512, memory = 1024 }
spot_percent   = 70
on_demand_base = 3
stop_timeout   = 120

certificate_arn     = "arn:aws:acm:us-west-2:123456789012:certificate/12345678-90ab-cdef-1234-567890abcdef" # yours
allowed_cidrs       = ["203.0.113.0/24", "198.51.100.0/24"]                                                 # your clients
deletion_protection = true

alarm_emails       = ["oncall@example.com"]
monthly_budget     = 1500
log_retention_days = 90

database          = true
database_class    = "db.t4g.medium"
database_multi_az = true
environment       = { GEECACHE_TTL = "1h" }
