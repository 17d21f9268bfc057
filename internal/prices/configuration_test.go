package prices

import (
	"math"
	"strings"
	"testing"
)

func inOregon(t *testing.T) Table {
	t.Helper()
	table, err := In("us-west-2")
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestLinesOfAConfiguration(t *testing.T) {
	c := Configuration{
		Tasks:         []Tasks{{Service: "n", CPU: 1024, Memory: 2048, OnDemand: 2, Spot: 1}},
		TaskAddresses: 3, Metrics: 10, CloudMapTasks: 4, Balancers: 1, Zones: 2, Endpoints: 3,
		Databases: []Database{{Class: "db.t4g.micro", GB: 20, MultiAZ: true}, {Class: "db.x.large"}},
		Traffic:   Traffic{LogsGB: 2, ZonesGB: 5},
	}
	each := 0.04048 + 2*0.004445
	want := map[string]float64{
		"tasks of n on demand":                            2 * each,
		"tasks of n on Spot (its price moves)":            0.3 * each,
		"public addresses of tasks":                       0.015,
		"public addresses of the load balancer":           0.01,
		"VPC endpoints, in each zone":                     0.06,
		"million lookups a month in Cloud Map":            4 * 1.314 / 730,
		"database db.t4g.micro":                           2 * (0.016 + 20*0.115/730),
		"database db.x.large: its price is not known":     0,
		"GB of logs a month":                              1.0 / 730,
		"GB a month between zones, paid at both ends":     0.1 / 730,
		"metrics of GeeCache, about (cloudwatch_metrics)": 3.0 / 730,
	}
	lines, sum := inOregon(t).Lines(c), 0.0
	got := make(map[string]float64)
	for _, l := range lines {
		got[l.What] = l.Dollars
		sum += l.Dollars
	}
	for what, dollars := range want {
		if d, ok := got[what]; !ok || math.Abs(d-dollars) > 1e-9 {
			t.Errorf("%s: %v, %v, want %v", what, d, ok, dollars)
		}
	}
	if math.Abs(Sum(lines)-sum) > 1e-12 {
		t.Errorf("the sum is %v, and not %v", Sum(lines), sum)
	}
	if lines := inOregon(t).Lines(Configuration{}); len(lines) != 0 {
		t.Errorf("nothing costs %v", lines)
	}
}

// Whatever is stated for a month costs the same in few hours and in many; the rest follows
// the hours.
func TestTrafficIsThatOfTheMonth(t *testing.T) {
	c := Configuration{NATGateways: 1, Traffic: Traffic{LogsGB: 10, OutGB: 100, ImageGB: 3, EndpointGB: 7, LogsKeptGB: 20}}
	for _, hours := range []float64{1, 160, HoursPerMonth, 744} {
		month := make(map[string]float64)
		for _, l := range inOregon(t).LinesOf(c, hours) {
			month[l.What] = l.Dollars * hours
		}
		for what, want := range map[string]float64{
			"NAT gateways, with their addresses": 0.05 * hours, "GB of logs a month": 5, "GB a month to the internet": 9,
			"GB of images in ECR": 0.3, "GB a month through VPC endpoints": 0.07, "GB of logs kept": 0.6,
		} {
			if math.Abs(month[what]-want) > 1e-9 {
				t.Errorf("%v hours: %s costs %v a month, want %v", hours, what, month[what], want)
			}
		}
	}
}

func TestFargateSizes(t *testing.T) {
	for _, tt := range []struct {
		cpu, memory int
		want        string // of an error
	}{
		{256, 512, ""}, {256, 2048, ""}, {1024, 8192, ""}, {8192, 61440, ""}, {16384, 122880, ""},
		{300, 512, "256, 512, 1024"}, {256, 8192, "512 to 2048"}, {512, 512, "1024 to 4096"}, {8192, 17408, "in steps of 4096"},
	} {
		s := Standard()
		s.CPU, s.Memory = tt.cpu, tt.memory
		if err := s.Validate(); (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%d units and %d MiB: %v, want %q", tt.cpu, tt.memory, err, tt.want)
		}
	}
}

func TestShapes(t *testing.T) {
	s := Standard()
	if err := s.Validate(); err != nil {
		t.Error(err)
	}
	standard := Sum(inOregon(t).Lines(s.Configuration()))
	s.Nodes, s.SpotPercent = 5, 50
	c := s.Configuration()
	if nodes := c.Tasks[1]; nodes.Spot != 2 || nodes.OnDemand != 3 {
		t.Errorf("%+v: want half of what is beyond the first on Spot", nodes)
	}
	s = Standard()
	s.Egress = Public
	if public := Sum(inOregon(t).Lines(s.Configuration())); public >= standard {
		t.Errorf("public addresses cost %v, a NAT gateway %v", public, standard)
	}
	s.Egress = "vpn"
	if err := s.Validate(); err == nil || !strings.Contains(err.Error(), "egress") {
		t.Error(err)
	}
}
