package tfdeploy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/geecache/geecache/internal/prices"
)

// planOf returns a plan that makes the resources, all in a module.
func planOf(t *testing.T, resources ...Resource) *Plan {
	t.Helper()
	var changes []any
	for i, r := range resources {
		resources[i].Mode = "managed"
		changes = append(changes, map[string]any{"address": r.Address, "change": map[string]any{"actions": []string{"create"}}})
	}
	text, err := json.Marshal(map[string]any{
		"planned_values":   map[string]any{"root_module": map[string]any{"child_modules": []any{map[string]any{"resources": resources}}}},
		"resource_changes": changes,
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := Read(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func resource(kind, name string, values map[string]any) Resource {
	return Resource{Address: "module.m." + kind + "." + name, Type: kind, Name: name, Values: values}
}

// testRules know one metric and one variable.
func testRules() Rules {
	return Rules{
		Namespace: "GeeCache",
		Metric: func(variables map[string]string, name string, dimensions []string) error {
			if variables["GEECACHE_SECRET"] != "" && variables["GEECACHE_DRAIN_TIMEOUT"] == "" {
				return errors.New("this task sends nothing")
			}
			if name != "geecache_known" || !slices.Equal(dimensions, []string{"cluster"}) {
				return fmt.Errorf("no node sends %s with %v", name, dimensions)
			}
			return nil
		},
		Environment: func(variables map[string]string) error {
			for name := range variables {
				if name != "GEECACHE_DRAIN_TIMEOUT" && name != "GEECACHE_SECRET" {
					return fmt.Errorf("unknown %s", name)
				}
			}
			return nil
		},
	}
}

func policy(action, resource string) Resource {
	return resource2("aws_iam_role_policy", map[string]any{"policy": fmt.Sprintf(
		`{"Statement":[{"Sid":"S","Effect":"Allow","Action":[%q],"Resource":%q}]}`, action, resource)})
}

func resource2(kind string, values map[string]any) Resource { return resource(kind, "main", values) }

func ingress(group string, port int, cidr string) Resource {
	return resource2("aws_vpc_security_group_ingress_rule", map[string]any{
		"security_group_id": group, "from_port": port, "to_port": port, "cidr_ipv4": cidr,
	})
}

func task(change func(map[string]any)) Resource {
	c := map[string]any{
		"name": "geecache", "readonlyRootFilesystem": true, "user": "65532", "stopTimeout": 60,
		"environment": []any{map[string]any{"name": "GEECACHE_DRAIN_TIMEOUT", "value": "45s"}},
		"secrets":     []any{map[string]any{"name": "GEECACHE_SECRET", "valueFrom": "arn"}},
		"healthCheck": map[string]any{"command": []string{"CMD", "/geecache", "health"}},
	}
	change(c)
	text, err := json.Marshal([]any{c})
	if err != nil {
		panic(err)
	}
	return resource2("aws_ecs_task_definition", map[string]any{"container_definitions": string(text)})
}

func alarm(name, dimension string) Resource {
	return resource2("aws_cloudwatch_metric_alarm", map[string]any{
		"namespace": "GeeCache", "metric_name": name, "dimensions": map[string]any{dimension: "x"},
	})
}

// scaled is a policy that scales the service n by the known metric.
func scaled() Resource {
	return resource2("aws_appautoscaling_policy", map[string]any{"resource_id": "service/c/n", "target_tracking_scaling_policy_configuration": []any{map[string]any{
		"customized_metric_specification": []any{map[string]any{"namespace": "GeeCache", "metric_name": "geecache_known", "dimensions": []any{map[string]any{"name": "cluster"}}}}}}})
}

// family is a task of a service, which sends the known metric or nothing.
func family(name string, sends bool) Resource {
	r := task(func(c map[string]any) {
		if !sends {
			c["environment"], c["stopTimeout"] = []any{}, 60
		}
	})
	r.Values["family"] = name
	return r
}

func TestCheckMetricsOfTasks(t *testing.T) {
	for _, c := range []struct {
		name      string
		resources []Resource
		want      string
	}{
		{"its own tasks alone", []Resource{scaled(), family("n", true), family("api", false)}, ""},
		{"others, too", []Resource{scaled(), family("n", true), family("api", true)}, "tasks of api send geecache_known"},
		{"others alone", []Resource{scaled(), family("n", false), family("api", true)}, "the service that is scaled does not send it"},
		{"an alarm on what some send", []Resource{alarm("geecache_known", "cluster"), family("n", true), family("api", false)}, ""},
		{"an alarm on what none sends", []Resource{alarm("geecache_known", "cluster"), family("n", false)}, "this task sends nothing"},
	} {
		got := strings.Join(checkMetrics(planOf(t, c.resources...), testRules()), "\n")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestCheck(t *testing.T) {
	lb := resource2("aws_lb", map[string]any{"security_groups": []any{"sg-lb"}})
	nothing := func(map[string]any) {}
	tests := []struct {
		name      string
		resources []Resource
		want      string // in what is wrong; empty for nothing
	}{
		{"policy of one bucket", []Resource{policy("s3:GetObject", "arn:aws:s3:::b/*")}, ""},
		{"policy of everything", []Resource{policy("*", "*")}, "allows *"},
		{"policy of a whole service", []Resource{policy("s3:*", "arn:aws:s3:::b")}, "allows s3:*"},
		{"policy that writes everywhere", []Resource{policy("s3:PutObject", "*")}, "on everything"},
		{"policy that AWS lets no one narrow", []Resource{policy("ecr:GetAuthorizationToken", "*")}, ""},
		{"policy that is attached", []Resource{resource2("aws_iam_role_policy_attachment", map[string]any{"policy_arn": "arn:aws:iam::aws:policy/AdministratorAccess"})}, "AdministratorAccess"},
		{"role for anybody", []Resource{resource2("aws_iam_role", map[string]any{"assume_role_policy": `{"Statement":[{"Principal":"*"}]}`})}, "anybody"},
		{"policy by exclusion", []Resource{resource2("aws_iam_role_policy", map[string]any{"policy": `{"Statement":[{"Effect":"Allow","NotAction":"iam:*","Resource":"*"}]}`})}, "name its actions"},

		{"the load balancer's port", []Resource{lb, ingress("sg-lb", 443, "0.0.0.0/0")}, ""},
		{"another port of it", []Resource{lb, ingress("sg-lb", 8001, "0.0.0.0/0")}, "80 and 443"},
		{"a node's port", []Resource{lb, ingress("sg-node", 443, "0.0.0.0/0")}, "not the load balancer's"},
		{"a node's port for some", []Resource{lb, ingress("sg-node", 8001, "10.0.0.0/8")}, ""},
		{"a rule inside a group", []Resource{resource2("aws_security_group", map[string]any{"ingress": []any{map[string]any{"cidr_blocks": []any{"0.0.0.0/0"}}}})}, "one each"},

		{"known metric", []Resource{alarm("geecache_known", "cluster")}, ""},
		{"unknown metric", []Resource{alarm("geecache_unknown", "cluster")}, "geecache_unknown"},
		{"other dimensions", []Resource{alarm("geecache_known", "node")}, "[node]"},
		{"metric of a query", []Resource{resource2("aws_cloudwatch_metric_alarm", map[string]any{"metric_query": []any{map[string]any{"metric": []any{map[string]any{"namespace": "GeeCache", "metric_name": "geecache_unknown"}}}}})}, "geecache_unknown"},
		{"metric of scaling", []Resource{resource2("aws_appautoscaling_policy", map[string]any{"target_tracking_scaling_policy_configuration": []any{map[string]any{
			"customized_metric_specification": []any{map[string]any{"namespace": "GeeCache", "metric_name": "geecache_unknown", "dimensions": []any{map[string]any{"name": "cluster"}}}}}}})}, "geecache_unknown"},
		{"metric of a dashboard", []Resource{resource2("aws_cloudwatch_dashboard", map[string]any{"dashboard_body": `{"widgets":[{"properties":{"metrics":[["GeeCache","geecache_unknown","cluster","c"]]}}]}`})}, "geecache_unknown"},
		{"no metric of a dashboard", []Resource{resource2("aws_cloudwatch_dashboard", map[string]any{"dashboard_body": `{"widgets":[{"properties":{"metrics":[["GeeCache"]]}}]}`})}, "no metric"},
		{"metric of AWS", []Resource{resource2("aws_cloudwatch_dashboard", map[string]any{"dashboard_body": `{"widgets":[{"properties":{"metrics":[["AWS/ECS","CPUUtilization"]]}}]}`})}, ""},

		{"task", []Resource{task(nothing)}, ""},
		{"task with an unknown variable", []Resource{task(func(c map[string]any) { c["environment"] = []any{map[string]any{"name": "GEECACHE_X", "value": "1"}} })}, "GEECACHE_X"},
		{"task that is killed", []Resource{task(func(c map[string]any) { c["stopTimeout"] = 50 })}, "killed after 50 s"},
		{"task as root", []Resource{task(func(c map[string]any) { c["user"] = "0" })}, "root"},
		{"task that may write", []Resource{task(func(c map[string]any) { delete(c, "readonlyRootFilesystem") })}, "may write"},
		{"task that asks by a shell", []Resource{task(func(c map[string]any) {
			c["healthCheck"] = map[string]any{"command": []string{"CMD-SHELL", "curl localhost"}}
		})}, "health check"},

		{"secret in the state", []Resource{resource2("aws_secretsmanager_secret_version", nil)}, "in the state"},
		{"password in the state", []Resource{resource2("aws_db_instance", map[string]any{"password": "x"})}, "let RDS manage it"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := strings.Join(Check(planOf(t, tt.resources...), testRules()), "\n")
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("wrong: %q, want %q", got, tt.want)
			}
		})
	}
}

func TestReadRefusesWhatIsNeitherPlanNorState(t *testing.T) {
	for _, text := range []string{"", "{}", "no JSON"} {
		if _, err := Read(strings.NewReader(text)); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
	p, err := Read(strings.NewReader(`{"values":{"root_module":{"resources":[{"mode":"managed","type":"a"},{"mode":"data","type":"a"}]}}}`))
	if err != nil || len(p.Resources) != 1 {
		t.Errorf("a state: %v, %v", p, err)
	}
}

func TestEstimate(t *testing.T) {
	table, err := prices.In("us-west-2")
	if err != nil {
		t.Fatal(err)
	}
	strategy := []any{
		map[string]any{"capacity_provider": "FARGATE", "weight": 50, "base": 1},
		map[string]any{"capacity_provider": "FARGATE_SPOT", "weight": 50, "base": 0},
	}
	p := planOf(t,
		resource2("aws_ecs_task_definition", map[string]any{"family": "n", "cpu": "1024", "memory": "2048"}),
		resource2("aws_ecs_service", map[string]any{"name": "n", "desired_count": 3, "capacity_provider_strategy": strategy,
			"network_configuration": []any{map[string]any{"assign_public_ip": true}}}),
		resource("aws_subnet", "public", nil),
		resource2("aws_nat_gateway", nil),
		resource2("aws_db_instance", map[string]any{"instance_class": "db.x.large"}),
	)
	p.Variables = map[string]any{"cloudwatch_metrics": true}
	lines := Estimate(p, table, func(_ map[string]string, processes int) int { return 730 * processes })
	got := make(map[string]float64)
	for _, l := range lines {
		got[l.What] = l.Dollars
	}
	each := 0.04048 + 2*0.004445
	for what, want := range map[string]float64{
		"tasks of n on demand":                            2 * each,
		"tasks of n on Spot (its price moves)":            0.3 * each,
		"metrics of GeeCache, about (cloudwatch_metrics)": 3 * 0.30,
		"public addresses of tasks":                       0.015,
		"NAT gateways, with their addresses":              0.05,
		"database db.x.large: its price is not known":     0,
	} {
		if d, ok := got[what]; !ok || d-want > 1e-9 || want-d > 1e-9 {
			t.Errorf("%s: %v, want %v; there are %v", what, d, want, slices.Sorted(maps.Keys(got)))
		}
	}
	var out strings.Builder
	if err := Print(&out, lines, "us-west-2"); err != nil || !strings.Contains(out.String(), prices.Date) {
		t.Errorf("%q, %v", out.String(), err)
	}
}

const found = `{"ResourceTagMappingList":[
 {"ResourceARN":"arn:aws:ecr:us-west-2:1:repository/gee"},
 {"ResourceARN":"arn:aws:ecs:us-west-2:1:cluster/gee"},
 {"ResourceARN":"arn:aws:ecs:us-west-2:1:service/gee/gee-node"},
 {"ResourceARN":"arn:aws:logs:us-west-2:1:log-group:/geecache/gee/node:*"},
 {"ResourceARN":"arn:aws:elasticloadbalancing:us-west-2:1:loadbalancer/app/gee/abc"},
 {"ResourceARN":"arn:aws:elasticloadbalancing:us-west-2:1:loadbalancer/app/gee-other/abc"},
 {"ResourceARN":"arn:aws:secretsmanager:us-west-2:1:secret:gee/api-token-AbCdEf"},
 {"ResourceARN":"arn:aws:ec2:us-west-2:1:vpc/vpc-1","Tags":[{"Key":"Name","Value":"gee"}]},
 {"ResourceARN":"arn:aws:ec2:us-west-2:1:subnet/subnet-1","Tags":[{"Key":"Name","Value":"gee-public-a"}]},
 {"ResourceARN":"arn:aws:ec2:us-west-2:1:route-table/rtb-1","Tags":[{"Key":"Name","Value":"gee-public"}]},
 {"ResourceARN":"arn:aws:ec2:us-west-2:1:security-group/sg-1","Tags":[{"Key":"Name","Value":"gee-node"}]},
 {"ResourceARN":"arn:aws:ec2:us-west-2:1:security-group/sg-2","Tags":[{"Key":"Name","Value":"gee-node"}]}]}
{"Roles":[{"RoleName":"gee-node"}]}
{"Account":"1","Budgets":[{"BudgetName":"gee"}]}
{"RouteTables":[{"RouteTableId":"rtb-1","Associations":[{},{"SubnetId":"subnet-1"}],"Routes":[{"DestinationCidrBlock":"0.0.0.0/0"}]}]}`

func TestAdopt(t *testing.T) {
	named := func(kind, argument, name string) Resource {
		return resource2(kind, map[string]any{argument: name})
	}
	tagged := func(kind, name, tag string) Resource {
		return resource(kind, name, map[string]any{"tags": map[string]any{"Name": tag}})
	}
	subnet := tagged("aws_subnet", "public", "gee-public-a")
	subnet.Address, subnet.Index = subnet.Address+`["a"]`, "a"
	association := resource("aws_route_table_association", "public", nil)
	association.Address, association.Index = association.Address+`["a"]`, "a"
	p := planOf(t,
		named("aws_ecr_repository", "name", "gee"), named("aws_ecs_cluster", "name", "gee"), named("aws_ecs_service", "name", "gee-node"),
		named("aws_cloudwatch_log_group", "name", "/geecache/gee/node"), named("aws_lb", "name", "gee"),
		named("aws_secretsmanager_secret", "name", "gee/api-token"), named("aws_iam_role", "name", "gee-node"), named("aws_budgets_budget", "name", "gee"),
		named("aws_s3_bucket", "bucket", "not-there"),
		tagged("aws_vpc", "main", "gee"), subnet, tagged("aws_route_table", "public", "gee-public"), association,
		resource("aws_route", "internet", map[string]any{"destination_cidr_block": "0.0.0.0/0"}),
		tagged("aws_security_group", "node", "gee-node"),
	)
	f, err := ReadFound(strings.NewReader(found))
	if err != nil {
		t.Fatal(err)
	}
	imports, ambiguous := Adopt(p, f)
	got := make(map[string]string)
	for _, i := range imports {
		got[strings.TrimPrefix(i.To, "module.m.")] = i.ID
	}
	want := map[string]string{
		"aws_ecr_repository.main": "gee", "aws_ecs_cluster.main": "gee", "aws_ecs_service.main": "gee/gee-node",
		"aws_cloudwatch_log_group.main":           "/geecache/gee/node",
		"aws_lb.main":                             "arn:aws:elasticloadbalancing:us-west-2:1:loadbalancer/app/gee/abc",
		"aws_secretsmanager_secret.main":          "arn:aws:secretsmanager:us-west-2:1:secret:gee/api-token-AbCdEf",
		"aws_iam_role.main":                       "gee-node",
		"aws_budgets_budget.main":                 "1:gee",
		"aws_vpc.main":                            "vpc-1",
		`aws_subnet.public["a"]`:                  "subnet-1",
		"aws_route_table.public":                  "rtb-1",
		`aws_route_table_association.public["a"]`: "subnet-1/rtb-1",
		"aws_route.internet":                      "rtb-1_0.0.0.0/0",
	}
	if !maps.Equal(got, want) {
		t.Errorf("imports %v\nwant    %v", got, want)
	}
	if len(ambiguous) != 1 || !strings.Contains(ambiguous[0], "sg-1, sg-2") {
		t.Errorf("ambiguous: %v", ambiguous)
	}
	p.Creates = nil
	if imports, _ := Adopt(p, f); len(imports) > 0 {
		t.Errorf("what Terraform has is not adopted again: %v", imports)
	}
	var out strings.Builder
	if err := WriteImports(&out, []Import{{`a["b"]`, "c"}}); err != nil || out.String() != "a[\"b\"]\tc\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

func TestWait(t *testing.T) {
	var calls atomic.Int32
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch n := calls.Add(1); {
		case n == 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		case r.URL.Path == "/readyz":
		case r.Header.Get("Authorization") != "Bearer token":
			w.WriteHeader(http.StatusUnauthorized)
		case n < 6:
			_, _ = w.Write([]byte(`{"owners":["a"]}`))
		default:
			_, _ = w.Write([]byte(`{"owners":["a","b"]}`))
		}
	}))
	defer api.Close()
	var told []string
	w := Waiter{URL: api.URL, Token: "token", Nodes: 2, Pause: time.Microsecond, Client: api.Client(), Progress: func(s string) { told = append(told, s) }}
	if err := w.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(told) != 2 || !strings.Contains(told[0], "503") || !strings.Contains(told[1], "1 of 2 nodes") {
		t.Errorf("told: %q", told)
	}
	w.Token = "wrong"
	if err := w.Wait(t.Context()); !errors.Is(err, errToken) {
		t.Errorf("with a wrong token: %v", err)
	}
	w.Token, w.Nodes = "token", 3
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := w.Wait(ctx); err == nil || !strings.Contains(err.Error(), "2 of 3 nodes") {
		t.Errorf("without a node: %v", err)
	}
}
