package tfdeploy

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// madeUp stands for a secret's value: only its form is looked at.
const madeUp = "0123456789abcdef0123456789abcdef"

type container struct {
	Name                   string
	Image                  string
	Command                []string
	ReadonlyRootFilesystem bool
	User                   string
	StopTimeout            int
	Environment            []struct{ Name, Value string }
	Secrets                []struct{ Name, ValueFrom string }
	HealthCheck            *struct{ Command []string }
	PortMappings           []struct{ ContainerPort int }
}

// checkTasks asks of each container whether the program would start with its
// variables, and whether it ends before ECS loses patience.
func checkTasks(p *Plan, rules Rules) []string {
	var wrong []string
	for _, r := range p.of("aws_ecs_task_definition") {
		text := r.text("container_definitions")
		if text == "" {
			continue // not known yet
		}
		var containers []container
		if err := json.Unmarshal([]byte(text), &containers); err != nil {
			wrong = append(wrong, fmt.Sprintf("%s: %v", r.Address, err))
			continue
		}
		for _, c := range containers {
			for _, w := range checkContainer(c, rules) {
				wrong = append(wrong, fmt.Sprintf("%s: %s: %s", r.Address, c.Name, w))
			}
		}
	}
	return wrong
}

// variables returns what the container is told. Secrets are made up.
func (c container) variables() map[string]string {
	variables := make(map[string]string)
	for _, e := range c.Environment {
		variables[e.Name] = e.Value
	}
	for _, s := range c.Secrets {
		variables[s.Name] = madeUp
	}
	return variables
}

func checkContainer(c container, rules Rules) []string {
	var wrong []string
	variables := c.variables()
	for _, s := range c.Secrets {
		if s.ValueFrom == "" {
			wrong = append(wrong, "the secret "+s.Name+" comes from nowhere")
		}
	}
	if err := rules.Environment(variables); err != nil {
		wrong = append(wrong, "it would not start: "+err.Error())
	}
	drain, err := time.ParseDuration(variables["GEECACHE_DRAIN_TIMEOUT"])
	if err != nil || drain+10*time.Second > time.Duration(c.StopTimeout)*time.Second {
		wrong = append(wrong, fmt.Sprintf("it ends within %q, and is killed after %d s: leave 10 s between them for the registry", variables["GEECACHE_DRAIN_TIMEOUT"], c.StopTimeout))
	}
	if !c.ReadonlyRootFilesystem || c.User == "" || c.User == "0" || c.User == "root" {
		wrong = append(wrong, "it runs as root, or may write to its image")
	}
	if c.HealthCheck == nil || !slices.Equal(c.HealthCheck.Command, []string{"CMD", "/geecache", "health"}) {
		wrong = append(wrong, "its health check is not /geecache health, and there is no other program in the image")
	}
	return wrong
}
