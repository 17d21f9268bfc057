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

// A Line is a part of what a deployment costs.
type Line struct {
	What    string
	Count   float64
	Dollars float64 // an hour
}

// insightsMetrics is about how many metrics Container Insights has for a cluster
// with two services.
const insightsMetrics = 60

// pollsPerMonth is how often a task asks Cloud Map, every 2 s, in millions a month.
const pollsPerMonth = 1.3

// Estimate returns what a deployment costs by the hour, before traffic: what is
// charged for requests, transferred bytes and logs is not known in a plan. metrics
// returns how many metrics so many processes with these variables have in CloudWatch.
func Estimate(p *Plan, t prices.Table, metrics func(variables map[string]string, processes int) int) []Line {
	e := &estimate{plan: p, table: t, metrics: metrics}
	e.tasks()
	e.network()
	e.rest()
	return e.lines
}

type estimate struct {
	plan  *Plan
	table prices.Table
	lines []Line

	metrics func(variables map[string]string, processes int) int
}

func (e *estimate) add(what string, count, dollars float64) {
	if count > 0 {
		e.lines = append(e.lines, Line{what, count, dollars})
	}
}

func (e *estimate) monthly(what string, count float64, item prices.Item) {
	e.add(what, count, count*e.table.Of(item)/prices.HoursPerMonth)
}

func (e *estimate) tasks() {
	definitions := make(map[string]Resource)
	for _, d := range e.plan.of("aws_ecs_task_definition") {
		definitions[d.text("family")] = d
	}
	addresses, all := 0.0, 0.0
	for _, s := range e.plan.of("aws_ecs_service") {
		d := definitions[s.text("name")]
		count := s.number("desired_count")
		all += count
		cpu, memory := prices.FargateCPU, prices.FargateMemory
		for _, platform := range d.blocks("runtime_platform") {
			if platform["cpu_architecture"] == "ARM64" {
				cpu, memory = prices.FargateARMCPU, prices.FargateARMMem
			}
		}
		each := d.number("cpu")/1024*e.table.Of(cpu) + d.number("memory")/1024*e.table.Of(memory)
		spot := onSpot(s, count)
		e.add(fmt.Sprintf("tasks of %s on demand", s.text("name")), count-spot, (count-spot)*each)
		e.add(fmt.Sprintf("tasks of %s on Spot (its price moves)", s.text("name")), spot, spot*each*e.table.Of(prices.SpotShare))
		for _, n := range s.blocks("network_configuration") {
			if n["assign_public_ip"] == true {
				addresses += count
			}
		}
	}
	e.add("public addresses of tasks", addresses, addresses*e.table.Of(prices.PublicIPv4))
	if v := e.plan.Variables; v["cloudwatch_metrics"] == true && v["learner_lab"] != true {
		e.monthly("metrics of GeeCache, about (cloudwatch_metrics)", float64(e.metrics(chosen(v), int(all))), prices.MetricMonth)
	}
	if len(e.plan.of("aws_service_discovery_service")) > 0 {
		e.monthly("million lookups a month in Cloud Map", all*pollsPerMonth, prices.CloudMapCalls)
	}
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

func (e *estimate) network() {
	zones := 0.0
	for _, s := range e.plan.of("aws_subnet") {
		if s.Name == "public" {
			zones++
		}
	}
	balancers := float64(len(e.plan.of("aws_lb")))
	e.add("load balancer, with one capacity unit", balancers, balancers*(e.table.Of(prices.BalancerHour)+e.table.Of(prices.BalancerLCU)))
	e.add("public addresses of the load balancer", balancers*zones, balancers*zones*e.table.Of(prices.PublicIPv4))
	nat := float64(len(e.plan.of("aws_nat_gateway")))
	e.add("NAT gateways, with their addresses", nat, nat*(e.table.Of(prices.NATHour)+e.table.Of(prices.PublicIPv4)))
	endpoints := 0.0
	for _, v := range e.plan.of("aws_vpc_endpoint") {
		if v.text("vpc_endpoint_type") == "Interface" {
			endpoints += zones
		}
	}
	e.add("VPC endpoints, in each zone", endpoints, endpoints*e.table.Of(prices.EndpointHour))
}

func (e *estimate) rest() {
	for _, c := range e.plan.of("aws_ecs_cluster") {
		text, _ := json.Marshal(c.Values["setting"])
		if strings.Contains(string(text), "enabled") {
			e.monthly("metrics of Container Insights, about", insightsMetrics, prices.MetricMonth)
		}
	}
	for _, of := range []struct {
		what, kind string
		item       prices.Item
	}{
		{"alarms", "aws_cloudwatch_metric_alarm", prices.AlarmMonth},
		{"dashboard (the account's first three are free)", "aws_cloudwatch_dashboard", prices.DashboardMonth},
		{"secrets", "aws_secretsmanager_secret", prices.SecretMonth},
		{"key", "aws_kms_key", prices.KeyMonth},
		{"hosted zone of Cloud Map", "aws_service_discovery_private_dns_namespace", prices.HostedZone},
	} {
		e.monthly(of.what, float64(len(e.plan.of(of.kind))), of.item)
	}
	for _, d := range e.plan.of("aws_db_instance") {
		item := map[string]prices.Item{
			"db.t4g.micro": prices.DatabaseMicro, "db.t4g.small": prices.DatabaseSmall, "db.t4g.medium": prices.DatabaseMedium,
		}[d.text("instance_class")]
		copies := 1.0
		if d.Values["multi_az"] == true {
			copies = 2
		}
		if item == "" {
			e.add("database "+d.text("instance_class")+": its price is not known", copies, 0)
			continue
		}
		gb := d.number("allocated_storage")
		e.add("database "+d.text("instance_class"), copies, copies*(e.table.Of(item)+gb*e.table.Of(prices.DatabaseGB)/prices.HoursPerMonth))
	}
}

// Print writes the lines and their sum as a table.
func Print(w io.Writer, lines []Line, region string) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	total := 0.0
	fmt.Fprintln(tw, "number\tUSD an hour\tUSD a month\t  \twhat")
	for _, l := range lines {
		total += l.Dollars
		fmt.Fprintf(tw, "%.4g\t%.4f\t%.2f\t  \t%s\n", l.Count, l.Dollars, l.Dollars*prices.HoursPerMonth, l.What)
	}
	fmt.Fprintf(tw, "\t%.4f\t%.2f\t  \tin all, before traffic, logs and stored bytes\n", total, total*prices.HoursPerMonth)
	if err := tw.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "Prices of %s as of %s; tasks at the start, before auto-scaling.\n", cmp.Or(region, "?"), prices.Date)
	return err
}
