package tfdeploy

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Rules are what Check holds a deployment to besides its own.
type Rules struct {
	// Metric returns an error if a process with these variables sends no metric of this
	// name with these dimensions to CloudWatch. Without variables it is asked of any.
	Metric func(variables map[string]string, name string, dimensions []string) error

	// Environment returns an error if a node with these variables does not start.
	Environment func(variables map[string]string) error

	// Namespace is that of nodes' metrics.
	Namespace string
}

// Check returns what is wrong with a deployment, one line each. It wants the state
// after an apply: in a plan, what is not known yet is not looked at.
func Check(p *Plan, rules Rules) []string {
	var wrong []string
	for _, check := range []func(*Plan, Rules) []string{checkPolicies, checkIngress, checkMetrics, checkTasks, checkSecrets} {
		wrong = append(wrong, check(p, rules)...)
	}
	return wrong
}

// list reads what policies write as a text or a list of texts.
type list []string

func (l *list) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*l = list{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(l))
}

type statement struct {
	Sid, Effect                            string
	Action, NotAction, Resource, Principal json.RawMessage
	Condition                              map[string]any
}

// readOnly are actions that AWS lets no one narrow to a resource, and that tell or
// give nothing by themselves.
var readOnly = regexp.MustCompile(`^(ecr:GetAuthorizationToken|servicediscovery:DiscoverInstances(Revision)?|ecs:(List|Describe)\w+|ec2:Describe\w+)$`)

// checkPolicies refuses wildcards in what roles may do, and managed policies.
func checkPolicies(p *Plan, _ Rules) []string {
	var wrong []string
	for _, r := range p.of("aws_iam_role_policy_attachment", "aws_iam_policy_attachment") {
		wrong = append(wrong, fmt.Sprintf("%s: attaches %s: write what the role may do into a policy of its own", r.Address, r.text("policy_arn")))
	}
	policies := p.of("aws_iam_role_policy", "aws_iam_policy")
	for _, r := range policies {
		if text := r.text("policy"); text != "" {
			wrong = append(wrong, checkPolicy(r.Address, text)...)
		}
	}
	for _, r := range p.of("aws_iam_role") {
		if trusted := r.text("assume_role_policy"); strings.Contains(trusted, `"*"`) {
			wrong = append(wrong, r.Address+": anybody may take the role")
		}
	}
	return wrong
}

func checkPolicy(address, text string) []string {
	var policy struct{ Statement []statement }
	if err := json.Unmarshal([]byte(text), &policy); err != nil {
		return []string{fmt.Sprintf("%s: %v", address, err)}
	}
	var wrong []string
	for _, s := range policy.Statement {
		var actions, resources list
		if err := json.Unmarshal(s.Action, &actions); err != nil || s.NotAction != nil {
			wrong = append(wrong, fmt.Sprintf("%s: %s: name its actions", address, s.Sid))
			continue
		}
		if err := json.Unmarshal(s.Resource, &resources); err != nil {
			wrong = append(wrong, fmt.Sprintf("%s: %s: name its resources", address, s.Sid))
			continue
		}
		if s.Effect != "Allow" {
			continue
		}
		for _, a := range actions {
			if strings.Contains(a, "*") {
				wrong = append(wrong, fmt.Sprintf("%s: %s: allows %s: name the actions", address, s.Sid, a))
			}
			if slices.Contains(resources, "*") && !readOnly.MatchString(a) {
				wrong = append(wrong, fmt.Sprintf("%s: %s: allows %s on everything: name the resources", address, s.Sid, a))
			}
		}
	}
	return wrong
}

// checkIngress refuses ports that the world reaches, but for the load balancer's.
func checkIngress(p *Plan, _ Rules) []string {
	var wrong []string
	for _, r := range p.of("aws_security_group", "aws_default_security_group", "aws_security_group_rule") {
		inline := len(r.blocks("ingress")) > 0 && slices.ContainsFunc(r.blocks("ingress"), func(b map[string]any) bool {
			text, _ := json.Marshal(b)
			return strings.Contains(string(text), "0.0.0.0/0") || strings.Contains(string(text), "::/0")
		})
		if inline || r.Type == "aws_security_group_rule" {
			wrong = append(wrong, r.Address+": write rules as aws_vpc_security_group_ingress_rule, one each")
		}
	}
	balancers := make(map[string]bool)
	for _, r := range p.of("aws_lb") {
		groups, _ := r.Values["security_groups"].([]any)
		for _, g := range groups {
			if id, ok := g.(string); ok {
				balancers[id] = true
			}
		}
	}
	for _, r := range p.of("aws_vpc_security_group_ingress_rule") {
		if r.text("cidr_ipv4") != "0.0.0.0/0" && r.text("cidr_ipv6") != "::/0" {
			continue
		}
		if group := r.text("security_group_id"); !balancers[group] {
			wrong = append(wrong, fmt.Sprintf("%s: opens port %v of %s to the world, which is not the load balancer's", r.Address, r.Values["from_port"], group))
		}
		if port := r.number("from_port"); port != r.number("to_port") || port != 80 && port != 443 {
			wrong = append(wrong, fmt.Sprintf("%s: opens port %v to %v of the load balancer to the world: 80 and 443 are enough", r.Address, r.Values["from_port"], r.Values["to_port"]))
		}
	}
	return wrong
}

// checkSecrets refuses values of secrets that Terraform would keep in its state.
func checkSecrets(p *Plan, _ Rules) []string {
	var wrong []string
	for _, r := range p.of("aws_secretsmanager_secret_version", "aws_ssm_parameter", "random_password") {
		wrong = append(wrong, r.Address+": its value is in the state for all who can read that: let deploy.sh draw it")
	}
	for _, r := range p.of("aws_db_instance") {
		if r.text("password") != "" {
			wrong = append(wrong, r.Address+": its password is in the state: let RDS manage it")
		}
	}
	return wrong
}
