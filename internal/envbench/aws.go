package envbench

import (
	"context"
	"fmt"
	"time"
)

// An awsDriver is the driver of AWS. What is there, Terraform has made: it makes and
// removes nothing, and does all else as an emulator's does.
type awsDriver struct{ *cloud }

// errTerraform is the error for what Terraform does, with the script that does it.
func errTerraform(what, script string) error {
	return fmt.Errorf("the environment aws is %s by Terraform: run aws-terraform/%s (see DEPLOYMENT.md)", what, script)
}

// Up implements Driver: it waits until what Terraform has made agrees, with so many nodes
// as d says. It refuses if there is nothing.
func (a *awsDriver) Up(ctx context.Context, d Deployment) (*Status, error) {
	if err := d.Validate(); err != nil {
		return nil, err
	}
	d = d.WithDefaults()
	now, err := a.service(ctx, d.Name, nodeService)
	if err != nil {
		return nil, err
	}
	if now == nil {
		return nil, errTerraform("made", "deploy.sh")
	}
	return a.Scale(ctx, d.Name, d.Nodes)
}

// Scale implements Driver. Where neither tasks can be reached from here nor the API, it says
// so.
func (a *awsDriver) Scale(ctx context.Context, name string, nodes int) (*Status, error) {
	s, err := a.cloud.Scale(ctx, name, nodes)
	if err != nil && s != nil && s.Reported > 0 && s.Answering == 0 {
		return s, fmt.Errorf("%w\nno task answers here, and no API server tells of them: does allowed_cidrs admit this machine, and is the API's token right (%s)?", err, apiTokenVariable)
	}
	return s, err
}

// Down implements Driver: it refuses, unless there is nothing.
func (a *awsDriver) Down(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	found, err := a.hasCluster(ctx, name)
	switch {
	case err != nil:
		return a.explain("ecs:DescribeClusters", err)
	case found:
		return errTerraform("removed", "destroy.sh")
	}
	return nil
}

// ForwardTo implements Forwardee.
func (*awsDriver) ForwardTo(context.Context, string) (string, error) {
	return "", &Unsupported{"forwarding metrics", "what runs in AWS is what Terraform has made, whose nodes write them into their log"}
}

// WatchContainers implements Insighter. What Terraform has set stays as it is.
func (a *awsDriver) WatchContainers(ctx context.Context, name string) (string, error) {
	return a.insights(ctx, name)
}
