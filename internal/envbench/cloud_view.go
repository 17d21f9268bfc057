package envbench

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// A view looks at one deployment again and again. It is used by one goroutine.
type view struct {
	c      *cloud
	name   string
	prober *prober
	api    string // URL of the load balancer
	image  string
	mapID  string // of the nodes' service in Cloud Map; empty: there is none
	remote bool   // processes are asked through the API
	token  string // that the API asks for then

	before map[string]bool   // IDs of deployments that had failed before
	want   map[string]string // task definitions by service; nil: those that there are

	services map[string]*types.Service // as seen last
	tasks    []task
}

// A task is one that the environment says is to run.
type task struct {
	id, service, definition, status, addr string
}

// view finds out what does not change. It returns ErrAbsent if there is no deployment.
func (c *cloud) view(ctx context.Context, name string) (*view, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	now, err := c.service(ctx, name, nodeService)
	if err != nil {
		return nil, err
	}
	if now == nil {
		return nil, ErrAbsent
	}
	def, err := c.ecs.DescribeTaskDefinition(ctx, &ecs.DescribeTaskDefinitionInput{TaskDefinition: now.TaskDefinition})
	if err != nil {
		return nil, c.explain("ecs:DescribeTaskDefinition", err)
	}
	is := labels(def.TaskDefinition)
	secret, err := c.clusterSecret(ctx, name)
	if err != nil {
		return nil, err
	}
	v := &view{c: c, name: name, image: is[labelImage], prober: newProber(secret, is[labelHello] == "true")}
	lb, err := c.balancer(ctx, name)
	if err != nil {
		return nil, c.explain("elasticloadbalancing:DescribeLoadBalancers", err)
	}
	v.api = c.balancerURL(name, aws.ToString(lb.DNSName))
	namespace, err := c.namespace(ctx, name)
	if err == nil {
		v.mapID, err = c.mapService(ctx, namespace)
	}
	return v, c.explain("servicediscovery:ListServices", err)
}

func (v *view) close() { v.prober.close() }

// balancerURL returns where a load balancer answers: an emulator may give it a name that
// nobody resolves.
func (c *cloud) balancerURL(name, dns string) string {
	switch {
	case dns == "":
		return ""
	case c.Endpoint != "" && strings.HasSuffix(dns, ".amazonaws.com"):
		return c.Endpoint + "/_alb/" + name
	case c.Endpoint != "" && !strings.Contains(dns, ":"):
		if u, err := url.Parse(c.Endpoint); err == nil && u.Port() != "" {
			dns = net.JoinHostPort(dns, u.Port())
		}
	}
	return "http://" + dns
}

// look asks the environment what runs, and then every process.
func (v *view) look(ctx context.Context) (*Status, error) {
	out, err := v.c.ecs.DescribeServices(ctx, &ecs.DescribeServicesInput{Cluster: &v.name, Services: []string{family(v.name, nodeService), family(v.name, apiService)}})
	if err != nil {
		return nil, v.c.explain("ecs:DescribeServices", err)
	}
	v.services = make(map[string]*types.Service)
	for i := range out.Services {
		v.services[v.serviceOf(aws.ToString(out.Services[i].ServiceName))] = &out.Services[i]
	}
	s := &Status{Environment: v.c.environment, Name: v.name, Image: v.image, API: v.api, Notes: v.c.notes()}
	if node := v.services[nodeService]; node != nil {
		s.Desired, s.Reported = int(node.DesiredCount), int(node.RunningCount)
	}
	if v.tasks, err = v.running(ctx); err != nil {
		return nil, err
	}
	for _, t := range v.tasks {
		m := Member{ID: t.id, Addr: t.addr, API: t.service == apiService, task: t.id}
		if service := v.services[t.service]; service != nil {
			m.old = t.definition != aws.ToString(service.TaskDefinition)
		}
		if !m.API && t.status == "RUNNING" {
			s.Running++
		}
		s.Members = append(s.Members, m)
	}
	if err := v.askAll(ctx, s); err != nil {
		return nil, err
	}
	s.wanting = v.wanting(ctx)
	return s, nil
}

// askAll asks every process at its own address. In AWS those are private: where none of
// them answers, what they say to the API servers is asked for, from then on.
func (v *view) askAll(ctx context.Context, s *Status) error {
	if !v.remote {
		v.prober.all(ctx, s.Members)
		if v.c.emulated || v.api == "" || reached(s.Members) {
			return nil
		}
		token, err := v.c.apiToken(ctx, v.name)
		if err != nil {
			return err
		}
		v.token = token
	}
	for i := range s.Members {
		if m := &s.Members[i]; m.State == "" {
			m.State, m.Error = "silent", "no API server tells of it"
		}
	}
	if err := v.prober.throughAPI(ctx, v.api, v.token, s.Members); err != nil {
		s.Notes = append(s.Notes, "the tasks' addresses are private, and "+err.Error())
		return nil // it may come up yet
	}
	v.remote = true
	s.Notes = append(s.Notes, noteThroughAPI)
	return nil
}

// wanting says what is not as it should be, the members' answers aside.
func (v *view) wanting(ctx context.Context) string {
	for name, s := range v.services {
		is := aws.ToString(s.TaskDefinition)
		if want := v.want[name]; want != "" && is != want {
			return fmt.Sprintf("service %s has gone back to %s", aws.ToString(s.ServiceName), last(is))
		}
		for _, t := range v.tasks {
			if t.service == name && t.definition != is {
				return fmt.Sprintf("task %s is still of %s", t.id, last(t.definition))
			}
		}
		if n := v.count(name); n != int(s.DesiredCount) {
			return fmt.Sprintf("service %s has %d tasks of %d", aws.ToString(s.ServiceName), n, s.DesiredCount)
		}
	}
	if v.api == "" {
		return ""
	}
	if _, err := v.prober.getPlain(ctx, strings.TrimPrefix(v.api, "http://"), v.prober.readyPath()); err != nil {
		return fmt.Sprintf("the load balancer at %s does not lead to the API: %v", v.api, err)
	}
	return ""
}

// serviceOf returns which of the deployment's services has a name, or a task's group;
// empty: none.
func (v *view) serviceOf(name string) string {
	name = strings.TrimPrefix(name, "service:")
	for _, service := range []string{nodeService, apiService} {
		if name == family(v.name, service) {
			return service
		}
	}
	return ""
}

// count returns how many tasks of a service there are.
func (v *view) count(service string) (n int) {
	for _, t := range v.tasks {
		if t.service == service {
			n++
		}
	}
	return n
}

// running returns the tasks that are to run, nodes first.
func (v *view) running(ctx context.Context) (all []task, err error) {
	described, err := v.describe(ctx, types.DesiredStatusRunning)
	if err != nil {
		return nil, err
	}
	for _, t := range described {
		group := v.serviceOf(aws.ToString(t.Group))
		if group == "" || aws.ToString(t.DesiredStatus) != string(types.DesiredStatusRunning) {
			continue
		}
		one := task{id: last(aws.ToString(t.TaskArn)), service: group, definition: aws.ToString(t.TaskDefinitionArn), status: aws.ToString(t.LastStatus)}
		for _, a := range t.Attachments {
			for _, d := range a.Details {
				if aws.ToString(d.Name) == "privateIPv4Address" && aws.ToString(d.Value) != "" {
					one.addr = net.JoinHostPort(aws.ToString(d.Value), strconv.Itoa(int(port(group))))
				}
			}
		}
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b task) int {
		if a.service != b.service {
			return strings.Compare(b.service, a.service) // node, api
		}
		return strings.Compare(a.id, b.id)
	})
	return all, nil
}

// describe returns the tasks of a status.
func (v *view) describe(ctx context.Context, status types.DesiredStatus) (all []types.Task, err error) {
	pages := ecs.NewListTasksPaginator(v.c.ecs, &ecs.ListTasksInput{Cluster: &v.name, DesiredStatus: status})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, v.c.explain("ecs:ListTasks", err)
		}
		if len(page.TaskArns) == 0 {
			continue
		}
		out, err := v.c.ecs.DescribeTasks(ctx, &ecs.DescribeTasksInput{Cluster: &v.name, Tasks: page.TaskArns})
		if err != nil {
			return nil, v.c.explain("ecs:DescribeTasks", err)
		}
		all = append(all, out.Tasks...)
	}
	return all, nil
}

// failed returns an error if the environment has given a deployment up.
func (v *view) failed() error {
	for name, s := range v.services {
		for _, d := range s.Deployments {
			if d.RolloutState == types.DeploymentRolloutStateFailed && !v.before[aws.ToString(d.Id)] {
				return fmt.Errorf("service %s: %s", name, strings.TrimSuffix(aws.ToString(d.RolloutStateReason), "."))
			}
		}
	}
	return nil
}
