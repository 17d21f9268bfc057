package prices

import "fmt"

// A Configuration is what of a deployment AWS charges for by the hour. What depends on
// traffic is in Traffic.
type Configuration struct {
	Tasks           []Tasks
	TaskAddresses   float64 // public addresses of tasks
	Metrics         float64 // that nodes and API servers send to CloudWatch
	InsightsMetrics float64 // of Container Insights
	CloudMapTasks   float64 // that ask Cloud Map who is there
	Balancers       float64
	Zones           float64 // in which balancers and endpoints have an address
	NATGateways     float64
	Endpoints       float64 // of kind Interface, in each zone
	Alarms          float64
	Dashboards      float64
	Secrets         float64
	Keys            float64
	HostedZones     float64
	Databases       []Database
	Traffic         Traffic
}

// Tasks are those of one service of ECS.
type Tasks struct {
	Service  string
	CPU      float64 // units, 1024 are one vCPU
	Memory   float64 // MiB
	ARM      bool
	OnDemand float64 // tasks
	Spot     float64
}

// A Database is one of RDS for PostgreSQL.
type Database struct {
	Class   string // such as db.t4g.micro
	GB      float64
	MultiAZ bool
}

// Traffic is what a deployment moves and keeps in a month.
type Traffic struct {
	LogsGB     float64 // written to CloudWatch
	OutGB      float64 // to the internet
	ZonesGB    float64 // between zones
	NATGB      float64 // through NAT gateways
	EndpointGB float64 // through VPC endpoints
	LogsKeptGB float64 // in CloudWatch
	ImageGB    float64 // kept in ECR
	StoredGB   float64 // snapshots in S3
	BusyUnits  float64 // capacity units of the balancers beyond the first, on the average
}

// InsightsMetrics is about how many metrics Container Insights has for a cluster with two
// services.
const InsightsMetrics = 60

// pollsPerMonth is how often a task asks Cloud Map, every 2 s, in millions a month.
const pollsPerMonth = HoursPerMonth * 3600 / 2 / 1e6

// A Line is a part of what a configuration costs.
type Line struct {
	What    string  `json:"what"`
	Count   float64 `json:"count"`
	Dollars float64 `json:"dollars_per_hour"`
}

// Lines returns what a configuration costs by the hour, without what it has none of.
func (t Table) Lines(c Configuration) (lines []Line) {
	hourly := func(what string, count, dollars float64) {
		if count > 0 {
			lines = append(lines, Line{what, count, count * dollars})
		}
	}
	monthly := func(what string, count float64, item Item) { hourly(what, count, t.Of(item)/HoursPerMonth) }
	for _, s := range c.Tasks {
		each := t.task(s)
		hourly(fmt.Sprintf("tasks of %s on demand", s.Service), s.OnDemand, each)
		hourly(fmt.Sprintf("tasks of %s on Spot (its price moves)", s.Service), s.Spot, each*t.Of(SpotShare))
	}
	hourly("public addresses of tasks", c.TaskAddresses, t.Of(PublicIPv4))
	monthly("metrics of GeeCache, about (cloudwatch_metrics)", c.Metrics, MetricMonth)
	monthly("million lookups a month in Cloud Map", c.CloudMapTasks*pollsPerMonth, CloudMapCalls)
	hourly("load balancer, with one capacity unit", c.Balancers, t.Of(BalancerHour)+t.Of(BalancerLCU))
	hourly("public addresses of the load balancer", c.Balancers*c.Zones, t.Of(PublicIPv4))
	hourly("NAT gateways, with their addresses", c.NATGateways, t.Of(NATHour)+t.Of(PublicIPv4))
	hourly("VPC endpoints, in each zone", c.Endpoints*c.Zones, t.Of(EndpointHour))
	monthly("metrics of Container Insights, about", c.InsightsMetrics, MetricMonth)
	monthly("alarms", c.Alarms, AlarmMonth)
	monthly("dashboard (the account's first three are free)", c.Dashboards, DashboardMonth)
	monthly("secrets", c.Secrets, SecretMonth)
	monthly("key", c.Keys, KeyMonth)
	monthly("hosted zone of Cloud Map", c.HostedZones, HostedZone)
	for _, d := range c.Databases {
		copies := 1.0
		if d.MultiAZ {
			copies = 2
		}
		item, known := databases()[d.Class]
		if !known {
			lines = append(lines, Line{"database " + d.Class + ": its price is not known", copies, 0})
			continue
		}
		hourly("database "+d.Class, copies, t.Of(item)+d.GB*t.Of(DatabaseGB)/HoursPerMonth)
	}
	monthly("GB of logs a month", c.Traffic.LogsGB, LogsGB)
	monthly("GB a month to the internet", c.Traffic.OutGB, TransferOut)
	monthly("GB a month between zones, paid at both ends", 2*c.Traffic.ZonesGB, TransferZone)
	monthly("GB a month through NAT gateways", c.Traffic.NATGB, NATGB)
	monthly("GB a month through VPC endpoints", c.Traffic.EndpointGB, EndpointGB)
	monthly("GB of logs kept", c.Traffic.LogsKeptGB, LogsStored)
	monthly("GB of images in ECR", c.Traffic.ImageGB, ECRGB)
	monthly("GB of snapshots in S3", c.Traffic.StoredGB, S3GB)
	hourly("capacity units of the load balancer beyond the first", c.Traffic.BusyUnits, t.Of(BalancerLCU))
	return lines
}

// LinesOf returns what a configuration costs by the hour if it runs so many hours a month.
// Traffic is that of the month, however few its hours are.
func (t Table) LinesOf(c Configuration, hours float64) []Line {
	traffic := t.Lines(Configuration{Traffic: c.Traffic})
	for i := range traffic {
		traffic[i].Dollars *= HoursPerMonth / hours
	}
	c.Traffic = Traffic{}
	return append(t.Lines(c), traffic...)
}

// Sum returns what lines cost together, by the hour.
func Sum(lines []Line) (dollars float64) {
	for _, l := range lines {
		dollars += l.Dollars
	}
	return dollars
}

// task returns what one task on demand costs by the hour.
func (t Table) task(s Tasks) float64 {
	cpu, memory := FargateCPU, FargateMemory
	if s.ARM {
		cpu, memory = FargateARMCPU, FargateARMMem
	}
	return s.CPU/1024*t.Of(cpu) + s.Memory/1024*t.Of(memory)
}

func databases() map[string]Item {
	return map[string]Item{"db.t4g.micro": DatabaseMicro, "db.t4g.small": DatabaseSmall, "db.t4g.medium": DatabaseMedium}
}
