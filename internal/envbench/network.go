package envbench

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// A network is where tasks and the load balancer are.
type network struct {
	VPC     string
	Subnets []string
}

// network returns the account's default network.
func (c *cloud) network(ctx context.Context) (network, error) {
	var vpcs struct {
		IDs []string `xml:"vpcSet>item>vpcId"`
	}
	if err := c.askEC2(ctx, "DescribeVpcs", "is-default", "true", &vpcs); err != nil {
		return network{}, err
	}
	if len(vpcs.IDs) == 0 {
		return network{}, errors.New("the account has no default VPC: make one with `aws ec2 create-default-vpc`")
	}
	var subnets struct {
		IDs []string `xml:"subnetSet>item>subnetId"`
	}
	if err := c.askEC2(ctx, "DescribeSubnets", "vpc-id", vpcs.IDs[0], &subnets); err != nil {
		return network{}, err
	}
	if len(subnets.IDs) == 0 {
		return network{}, fmt.Errorf("the default VPC %s has no subnet: make one with `aws ec2 create-default-subnet`", vpcs.IDs[0])
	}
	return network{vpcs.IDs[0], subnets.IDs}, nil
}

// askEC2 makes a call of EC2's API with one filter. EC2's module of the SDK takes minutes
// and gigabytes to compile, for two calls: these are made by hand.
func (c *cloud) askEC2(ctx context.Context, action, filter, value string, into any) error {
	return c.explain("ec2:"+action, c.query(ctx, "ec2", url.Values{
		"Action": {action}, "Version": {"2016-11-15"}, "Filter.1.Name": {filter}, "Filter.1.Value.1": {value},
	}, into))
}

// query makes a call of the older protocol of AWS: a form, and XML for an answer.
func (c *cloud) query(ctx context.Context, service string, values url.Values, into any) error {
	form, endpoint := values.Encode(), c.Endpoint
	if endpoint == "" {
		endpoint = "https://" + service + "." + c.Region + ".amazonaws.com"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint+"/", strings.NewReader(form))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	key, err := c.config.Credentials.Retrieve(ctx)
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(form))
	if err := v4.NewSigner().SignHTTP(ctx, key, req, hex.EncodeToString(sum[:]), service, c.Region, time.Now()); err != nil {
		return err
	}
	resp, err := c.config.HTTPClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", resp.Status, body)
	}
	return xml.Unmarshal(body, into)
}
