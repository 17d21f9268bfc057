package tfdeploy

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// checkMetrics asks for each metric of ours that an alarm, a scaling policy or a
// dashboard names whether nodes send it.
func checkMetrics(p *Plan, rules Rules) []string {
	var wrong []string
	asks := func(address, namespace, name string, dimensions []string) {
		if namespace != rules.Namespace {
			return
		}
		if err := rules.Metric(name, dimensions); err != nil {
			wrong = append(wrong, fmt.Sprintf("%s: %v", address, err))
		}
	}
	for _, r := range p.of("aws_cloudwatch_metric_alarm") {
		asks(r.Address, r.text("namespace"), r.text("metric_name"), dimensionsOf(r.Values["dimensions"]))
		for _, q := range r.blocks("metric_query") {
			for _, m := range (Resource{Values: q}).blocks("metric") {
				m := Resource{Values: m}
				asks(r.Address, m.text("namespace"), m.text("metric_name"), dimensionsOf(m.Values["dimensions"]))
			}
		}
	}
	for _, r := range p.of("aws_appautoscaling_policy") {
		for _, c := range r.blocks("target_tracking_scaling_policy_configuration") {
			for _, m := range (Resource{Values: c}).blocks("customized_metric_specification") {
				m := Resource{Values: m}
				var dimensions []string
				for _, d := range m.blocks("dimensions") {
					dimensions = append(dimensions, fmt.Sprint(d["name"]))
				}
				asks(r.Address, m.text("namespace"), m.text("metric_name"), dimensions)
			}
		}
	}
	for _, r := range p.of("aws_cloudwatch_dashboard") {
		wrong = append(wrong, checkDashboard(r, asks)...)
	}
	return wrong
}

// dimensionsOf returns the names of dimensions that are a map.
func dimensionsOf(v any) []string {
	m, _ := v.(map[string]any)
	return slices.Sorted(maps.Keys(m))
}

// checkDashboard passes the metrics of a dashboard's body on.
func checkDashboard(r Resource, asks func(address, namespace, name string, dimensions []string)) []string {
	var body struct {
		Widgets []struct {
			Type       string
			Properties struct{ Metrics [][]any }
		}
	}
	text := r.text("dashboard_body")
	if text == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(text), &body); err != nil {
		return []string{fmt.Sprintf("%s: %v", r.Address, err)}
	}
	var wrong []string
	for _, w := range body.Widgets {
		for _, m := range w.Properties.Metrics {
			var parts []string
			for _, part := range m {
				if s, ok := part.(string); ok {
					parts = append(parts, s)
				}
			}
			if len(parts) < 2 || len(parts)%2 != 0 {
				wrong = append(wrong, fmt.Sprintf("%s: %v is no metric with its dimensions", r.Address, m))
				continue
			}
			var dimensions []string
			for i := 2; i < len(parts); i += 2 {
				dimensions = append(dimensions, parts[i])
			}
			asks(r.Address, parts[0], parts[1], dimensions)
		}
	}
	return wrong
}
