package tfdeploy

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
)

// checkMetrics asks for each metric of ours that an alarm, a scaling policy or a
// dashboard names whether a task of the deployment sends it. What a service is scaled by
// its own tasks must send, and no others: their values would count as much.
func checkMetrics(p *Plan, rules Rules) []string {
	var wrong []string
	senders := variablesOf(p)
	asks := func(address, namespace, name string, dimensions []string) {
		if namespace != rules.Namespace {
			return
		}
		err := rules.Metric(nil, name, dimensions)
		for _, s := range senders {
			if err = rules.Metric(s.variables, name, dimensions); err == nil {
				break
			}
		}
		if err != nil {
			wrong = append(wrong, fmt.Sprintf("%s: %v", address, err))
		}
	}
	scales := func(r Resource, name string, dimensions []string) {
		service := path.Base(r.text("resource_id"))
		for _, s := range senders {
			err := rules.Metric(s.variables, name, dimensions)
			switch {
			case s.family == service && err != nil:
				wrong = append(wrong, fmt.Sprintf("%s: the service that is scaled does not send it: %v", r.Address, err))
			case s.family != service && err == nil:
				wrong = append(wrong, fmt.Sprintf("%s: tasks of %s send %s with %v, too, and %s is scaled by it", r.Address, s.family, name, dimensions, service))
			}
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
				if m.text("namespace") == rules.Namespace {
					scales(r, m.text("metric_name"), dimensions)
				}
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

// A sender is what the containers of a task definition are told.
type sender struct {
	family    string
	variables map[string]string
}

// variablesOf returns the senders among the task definitions, as far as they are known.
func variablesOf(p *Plan) (all []sender) {
	for _, r := range p.of("aws_ecs_task_definition") {
		var containers []container
		if json.Unmarshal([]byte(r.text("container_definitions")), &containers) != nil {
			continue // checkTasks says it
		}
		for _, c := range containers {
			all = append(all, sender{r.text("family"), c.variables()})
		}
	}
	return all
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
