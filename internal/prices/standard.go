package prices

import (
	"fmt"
	"slices"
)

// The ways to the internet of a Shape, as aws-terraform has them.
const (
	NAT       = "nat"
	Endpoints = "endpoints"
	Public    = "public"
)

// A Shape describes a deployment by aws-terraform as its variables do.
type Shape struct {
	Name        string
	Nodes, APIs int
	CPU, Memory int // of each task: units, 1024 are one vCPU, and MiB
	SpotPercent int // of the tasks of a service beyond the first one
	ARM         bool
	Zones       int
	Egress      string // NAT, Endpoints or Public
	NATPerZone  bool
	Insights    bool
	Metrics     int // that all processes send to CloudWatch
	Alarms      bool
}

// Standard returns aws-terraform's deployment with no variable given, but for the metrics
// that its processes send.
func Standard() Shape {
	return Shape{Name: "geecache", Nodes: 3, APIs: 1, CPU: 256, Memory: 512, Zones: 2, Egress: NAT, Insights: true, Alarms: true}
}

// What aws-terraform makes for each deployment, or with its alarms, or to do without the
// internet.
const (
	secretsOf   = 2 // the cluster's, and the API's token
	alarmsOf    = 12
	endpointsOf = 7 // with Cloud Map
)

// Validate returns an error that names the first field that makes no sense.
func (s Shape) Validate() error {
	switch {
	case s.Nodes < 1 || s.APIs < 0:
		return fmt.Errorf("nodes are %d and API servers %d: use at least one node", s.Nodes, s.APIs)
	case fargate(s.CPU) == nil:
		return fmt.Errorf("a task has %d CPU units: Fargate has 256, 512, 1024, 2048, 4096, 8192 and 16384", s.CPU)
	case !slices.Contains(fargate(s.CPU), s.Memory):
		sizes := fargate(s.CPU)
		return fmt.Errorf("a task of %d CPU units has %d MiB: Fargate has %d to %d for it, in steps of %d",
			s.CPU, s.Memory, sizes[0], sizes[len(sizes)-1], sizes[1]-sizes[0])
	case s.SpotPercent < 0 || s.SpotPercent > 100:
		return fmt.Errorf("the part on Spot is %d percent: use 0 to 100", s.SpotPercent)
	case s.Zones < 2 || s.Zones > 3:
		return fmt.Errorf("zones are %d: use 2 or 3, as a load balancer needs", s.Zones)
	case s.Egress != NAT && s.Egress != Endpoints && s.Egress != Public:
		return fmt.Errorf("egress is %q: use %s, %s or %s", s.Egress, NAT, Endpoints, Public)
	}
	return nil
}

// fargate returns the sizes of memory, in MiB, that tasks with so many CPU units can have:
// none, if there are no such tasks.
func fargate(cpu int) (sizes []int) {
	var least, most, step int
	switch cpu {
	case 256:
		return []int{512, 1024, 2048}
	case 512:
		least, most, step = 1, 4, 1
	case 1024:
		least, most, step = 2, 8, 1
	case 2048:
		least, most, step = 4, 16, 1
	case 4096:
		least, most, step = 8, 30, 1
	case 8192:
		least, most, step = 16, 60, 4
	case 16384:
		least, most, step = 32, 120, 8
	default:
		return nil
	}
	for gb := least; gb <= most; gb += step {
		sizes = append(sizes, gb*1024)
	}
	return sizes
}

// Configuration returns what AWS charges for, before traffic.
func (s Shape) Configuration() Configuration {
	all := float64(s.Nodes + s.APIs)
	c := Configuration{
		Metrics: float64(s.Metrics), CloudMapTasks: all, Balancers: 1, Zones: float64(s.Zones), Secrets: secretsOf, HostedZones: 1,
		Tasks: []Tasks{s.tasks("api", s.APIs), s.tasks("node", s.Nodes)},
	}
	switch s.Egress {
	case NAT:
		c.NATGateways = 1
		if s.NATPerZone {
			c.NATGateways = c.Zones
		}
	case Endpoints:
		c.Endpoints = endpointsOf
	case Public:
		c.TaskAddresses = all
	}
	if s.Insights {
		c.InsightsMetrics = InsightsMetrics
	}
	c.Dashboards = 1
	if s.Alarms {
		c.Alarms = alarmsOf
	}
	return c
}

func (s Shape) tasks(service string, count int) Tasks {
	t := Tasks{Service: s.Name + "-" + service, CPU: float64(s.CPU), Memory: float64(s.Memory), ARM: s.ARM, OnDemand: float64(count)}
	if count > 1 {
		t.Spot = float64(count-1) * float64(s.SpotPercent) / 100
		t.OnDemand -= t.Spot
	}
	return t
}
