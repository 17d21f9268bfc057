package tfdeploy

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/geecache/geecache/internal/prices"
)

// Estimate returns what a deployment costs by the hour, before traffic: what is
// charged for requests, transferred bytes and logs is not known in a plan. metrics
// returns how many metrics so many processes with these variables have in CloudWatch.
func Estimate(p *Plan, t prices.Table, metrics func(variables map[string]string, processes int) int) []prices.Line {
	c := prices.Configuration{
		Balancers:   float64(len(p.of("aws_lb"))),
		NATGateways: float64(len(p.of("aws_nat_gateway"))),
		Alarms:      float64(len(p.of("aws_cloudwatch_metric_alarm"))),
		Dashboards:  float64(len(p.of("aws_cloudwatch_dashboard"))),
		Secrets:     float64(len(p.of("aws_secretsmanager_secret"))),
		Keys:        float64(len(p.of("aws_kms_key"))),
		HostedZones: float64(len(p.of("aws_service_discovery_private_dns_namespace"))),
	}
	for _, s := range p.of("aws_subnet") {
		if s.Name == "public" {
			c.Zones++
		}
	}
	for _, v := range p.of("aws_vpc_endpoint") {
		if v.text("vpc_endpoint_type") == "Interface" {
			c.Endpoints++
		}
	}
	for _, cluster := range p.of("aws_ecs_cluster") {
		if text, _ := json.Marshal(cluster.Values["setting"]); strings.Contains(string(text), "enabled") {
			c.InsightsMetrics += prices.InsightsMetrics
		}
	}
	for _, d := range p.of("aws_db_instance") {
		c.Databases = append(c.Databases, prices.Database{
			Class: d.text("instance_class"), GB: d.number("allocated_storage"), MultiAZ: d.Values["multi_az"] == true,
		})
	}
	all := tasks(p, &c)
	if v := p.Variables; v["cloudwatch_metrics"] == true && v["learner_lab"] != true {
		c.Metrics = float64(metrics(chosen(v), int(all)))
	}
	if len(p.of("aws_service_discovery_service")) > 0 {
		c.CloudMapTasks = all
	}
	return t.Lines(c)
}

// tasks adds the services' tasks, and returns how many they are.
func tasks(p *Plan, c *prices.Configuration) (all float64) {
	definitions := make(map[string]Resource)
	for _, d := range p.of("aws_ecs_task_definition") {
		definitions[d.text("family")] = d
	}
	for _, s := range p.of("aws_ecs_service") {
		d := definitions[s.text("name")]
		count := s.number("desired_count")
		all += count
		one := prices.Tasks{Service: s.text("name"), CPU: d.number("cpu"), Memory: d.number("memory"), Spot: onSpot(s, count)}
		one.OnDemand = count - one.Spot
		for _, platform := range d.blocks("runtime_platform") {
			one.ARM = platform["cpu_architecture"] == "ARM64"
		}
		c.Tasks = append(c.Tasks, one)
		for _, n := range s.blocks("network_configuration") {
			if n["assign_public_ip"] == true {
				c.TaskAddresses += count
			}
		}
	}
	return all
}

// chosen returns the variables by which processes know what to send to CloudWatch, as
// the root module's say it: a plan need not know the tasks' yet.
func chosen(root map[string]any) map[string]string {
	chosen := map[string]string{"GEECACHE_EMF": "true"}
	if d, ok := root["cloudwatch_dimensions"].(string); ok {
		chosen["GEECACHE_CLOUDWATCH_DIMENSIONS"] = d
	}
	var names []string
	if all, ok := root["cloudwatch_names"].([]any); ok {
		for _, name := range all {
			names = append(names, fmt.Sprint(name))
		}
		chosen["GEECACHE_CLOUDWATCH_METRICS"] = strings.Join(names, ",")
	}
	return chosen
}

// onSpot returns how many of a service's tasks the strategy puts on Spot.
func onSpot(s Resource, count float64) float64 {
	var base, weights, spot float64
	for _, b := range s.blocks("capacity_provider_strategy") {
		base += number(b["base"])
		weights += number(b["weight"])
		if b["capacity_provider"] == "FARGATE_SPOT" {
			spot = number(b["weight"])
		}
	}
	if weights == 0 || count <= base {
		return 0
	}
	return (count - base) * spot / weights
}

// Print writes the lines and their sum as a table.
func Print(w io.Writer, lines []prices.Line, region string) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	total := prices.Sum(lines)
	fmt.Fprintln(tw, "number\tUSD an hour\tUSD a month\t  \twhat")
	for _, l := range lines {
		fmt.Fprintf(tw, "%.4g\t%.4f\t%.2f\t  \t%s\n", l.Count, l.Dollars, l.Dollars*prices.HoursPerMonth, l.What)
	}
	fmt.Fprintf(tw, "\t%.4f\t%.2f\t  \tin all, before traffic, logs and stored bytes\n", total, total*prices.HoursPerMonth)
	if err := tw.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "Prices of %s as of %s; tasks at the start, before auto-scaling.\n", cmp.Or(region, "?"), prices.Date)
	return err
}
