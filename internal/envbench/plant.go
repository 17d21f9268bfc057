package envbench

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// deaf is where a planted node listens: where none of the others reaches it, and where a
// health check inside its container does.
var deaf = fmt.Sprintf("127.0.0.1:%d", nodePort)

// brokenWithin bounds how long an environment may take to count what is broken.
const brokenWithin = time.Minute

// Break implements Breaker: here a process that starts can be reached, so one that runs is
// made to hang.
func (l *local) Break(ctx context.Context, d Deployment) (string, error) {
	m, err := l.lastNode(ctx, d.Name)
	if err != nil {
		return "", err
	}
	_, err = l.change(ctx, d.Name, "pause", m)
	return "one node's process was stopped where it was, as one that hangs", err
}

// Mend implements Breaker.
func (l *local) Mend(ctx context.Context, d Deployment) error {
	m, err := l.lastNode(ctx, d.Name)
	if err == nil {
		_, err = l.change(ctx, d.Name, "resume", m)
	}
	return err
}

// lastNode returns the newest node.
func (l *local) lastNode(ctx context.Context, name string) (m Member, err error) {
	state, err := l.recall(ctx, name)
	if err != nil {
		return m, err
	}
	all, err := l.list(ctx, state)
	if err != nil {
		return m, err
	}
	newest := 0
	for _, one := range all {
		if one.runs() && one.Node > newest {
			newest, m = one.Node, Member{ID: one.Addr, Addr: one.Addr, task: fmt.Sprint(one.Node)}
		}
	}
	if newest == 0 {
		return m, fmt.Errorf("no node of %s runs", name)
	}
	return m, nil
}

// Break implements Breaker: it adds a container to the project.
func (c *composed) Break(ctx context.Context, d Deployment) (string, error) {
	d = d.WithDefaults()
	all, err := c.containers(ctx, d.Name)
	if err != nil {
		return "", err
	}
	if len(all) == 0 {
		return "", ErrAbsent
	}
	labels := map[string]string{"com.docker.compose.project": d.Name, "com.docker.compose.service": nodeService, "com.docker.compose.oneoff": "False"}
	args := []string{"run", "--detach", "--name=" + brokenName(d.Name), "--network=" + d.Name + "_cluster", "--read-only", "--cap-drop=ALL"}
	for _, label := range slices.Sorted(maps.Keys(labels)) {
		args = append(args, "--label="+label+"="+labels[label])
	}
	_, err = docker(ctx, nil, append(args, d.Image, "node", "--listen="+deaf, "--cluster-id="+d.Name)...)
	return fmt.Sprintf("one more container of the nodes' service was started, whose node listens on %s alone", deaf), err
}

func brokenName(name string) string { return name + "-broken" }

// Mend implements Breaker.
func (c *composed) Mend(ctx context.Context, d Deployment) error {
	_, err := docker(ctx, nil, "rm", "--force", "--volumes", brokenName(d.WithDefaults().Name))
	return err
}

// Break implements Breaker: it has the nodes' service go to a definition of nodes that
// cannot be reached, which is a mistake that an environment could notice.
func (c *cloud) Break(ctx context.Context, d Deployment) (string, error) {
	d = d.WithDefaults()
	now, err := c.service(ctx, d.Name, nodeService)
	if err != nil {
		return "", err
	}
	if now == nil {
		return "", ErrAbsent
	}
	image, err := c.ensureImage(ctx, d, new([]string))
	if err != nil {
		return "", err
	}
	secrets, err := c.ensureSecrets(ctx, d, new([]string))
	if err != nil {
		return "", err
	}
	def := c.container(d, nodeService, image, secrets)
	for i, e := range def.Environment {
		if aws.ToString(e.Name) == "GEECACHE_LISTEN" {
			def.Environment[i].Value = aws.String(deaf)
		}
	}
	tasks, err := c.ensureTasks(ctx, d, nodeService, def, new([]string))
	if err != nil {
		return "", err
	}
	if err := c.ensureService(ctx, d, nodeService, tasks, "", d.Nodes, network{}, new([]string)); err != nil {
		return "", err
	}
	what := fmt.Sprintf("the nodes' service was told to run %s, whose nodes listen on %s alone", last(tasks), deaf)
	ctx, cancel := context.WithTimeout(ctx, brokenWithin)
	defer cancel()
	err = poll(ctx, func(ctx context.Context) (bool, error) {
		if now, err = c.service(ctx, d.Name, nodeService); err != nil || now == nil {
			return false, err
		}
		for _, one := range now.Deployments {
			if aws.ToString(one.TaskDefinition) == tasks && one.RolloutState == types.DeploymentRolloutStateFailed {
				what += "; it gave that up: " + aws.ToString(one.RolloutStateReason)
				return true, nil
			}
		}
		one := now.Deployments
		return len(one) == 1 && aws.ToString(one[0].TaskDefinition) == tasks && one[0].RolloutState == types.DeploymentRolloutStateCompleted, nil
	})
	if err != nil && ctx.Err() != nil {
		return what + fmt.Sprintf("; after %v that had neither succeeded nor failed", brokenWithin), nil
	}
	return what, err
}

// Mend implements Breaker: Up has the service run what it should.
func (*cloud) Mend(context.Context, Deployment) error { return nil }

// Break implements Breaker.
func (*awsDriver) Break(context.Context, Deployment) (string, error) {
	return "", &Unsupported{"planting a broken node", "what runs in AWS is what Terraform has made, and is not broken on purpose"}
}
