// Package prices holds what AWS charges for what a deployment of GeeCache is made of,
// as its public price pages said on a date. It asks nobody, and knows no discounts.
package prices

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Date is when the table was made. Whoever changes a figure changes it.
const Date = "2025-11-30"

// HoursPerMonth is what AWS divides monthly prices by.
const HoursPerMonth = 730

// An Item is something with a price.
type Item string

// What has a price. Prices that AWS states for a month are so here.
const (
	FargateCPU    Item = "Fargate, vCPU hour"
	FargateMemory Item = "Fargate, GB hour"
	FargateARMCPU Item = "Fargate on ARM, vCPU hour"
	FargateARMMem Item = "Fargate on ARM, GB hour"
	SpotShare     Item = "Fargate Spot, part of the price on demand" // it moves

	BalancerHour Item = "application load balancer, hour"
	BalancerLCU  Item = "application load balancer, capacity unit hour"
	NATHour      Item = "NAT gateway, hour"
	NATGB        Item = "NAT gateway, GB"
	EndpointHour Item = "interface endpoint, zone hour"
	EndpointGB   Item = "interface endpoint, GB"
	PublicIPv4   Item = "public IPv4 address, hour"
	TransferOut  Item = "transfer to the internet, GB"
	TransferZone Item = "transfer to another zone, GB and direction"

	LogsGB         Item = "CloudWatch logs written, GB"
	LogsStored     Item = "CloudWatch logs kept, GB month"
	MetricMonth    Item = "CloudWatch metric, month" // the first 10,000
	AlarmMonth     Item = "CloudWatch alarm, month"
	DashboardMonth Item = "CloudWatch dashboard, month" // beyond three in the account

	CloudMapCalls  Item = "Cloud Map, million lookups"
	HostedZone     Item = "Route 53 hosted zone, month"
	ECRGB          Item = "ECR, GB month"
	SecretMonth    Item = "Secrets Manager secret, month"
	KeyMonth       Item = "KMS key, month"
	S3GB           Item = "S3, GB month"
	DatabaseMicro  Item = "RDS PostgreSQL db.t4g.micro, hour"
	DatabaseSmall  Item = "RDS PostgreSQL db.t4g.small, hour"
	DatabaseMedium Item = "RDS PostgreSQL db.t4g.medium, hour"
	DatabaseGB     Item = "RDS gp3 storage, GB month"
)

// A Price is what an item costs in US dollars, and where AWS says so.
type Price struct {
	Item   Item    `json:"item"`
	Dollar float64 `json:"dollars"`
	Source string  `json:"source"`
}

// pages are where AWS states its prices; items that are not here are on CloudWatch's.
const (
	pageFargate  = "https://aws.amazon.com/fargate/pricing/"
	pageBalancer = "https://aws.amazon.com/elasticloadbalancing/pricing/"
	pageVPC      = "https://aws.amazon.com/vpc/pricing/"
	pageEndpoint = "https://aws.amazon.com/privatelink/pricing/"
	pageTransfer = "https://aws.amazon.com/ec2/pricing/on-demand/"
	pageWatch    = "https://aws.amazon.com/cloudwatch/pricing/"
	pageCloudMap = "https://aws.amazon.com/cloud-map/pricing/"
	pageRoute53  = "https://aws.amazon.com/route53/pricing/"
	pageECR      = "https://aws.amazon.com/ecr/pricing/"
	pageSecrets  = "https://aws.amazon.com/secrets-manager/pricing/"
	pageKMS      = "https://aws.amazon.com/kms/pricing/"
	pageS3       = "https://aws.amazon.com/s3/pricing/"
	pageRDS      = "https://aws.amazon.com/rds/postgresql/pricing/"
)

// table is that of us-east-1 and us-west-2, whose prices for these are the same.
func table() []Price {
	return []Price{
		{FargateCPU, 0.04048, pageFargate},
		{FargateMemory, 0.004445, pageFargate},
		{FargateARMCPU, 0.03238, pageFargate},
		{FargateARMMem, 0.00356, pageFargate},
		{SpotShare, 0.3, pageFargate},

		{BalancerHour, 0.0225, pageBalancer},
		{BalancerLCU, 0.008, pageBalancer},
		{NATHour, 0.045, pageVPC},
		{NATGB, 0.045, pageVPC},
		{EndpointHour, 0.01, pageEndpoint},
		{EndpointGB, 0.01, pageEndpoint},
		{PublicIPv4, 0.005, pageVPC},
		{TransferOut, 0.09, pageTransfer},
		{TransferZone, 0.01, pageTransfer},

		{LogsGB, 0.50, pageWatch},
		{LogsStored, 0.03, pageWatch},
		{MetricMonth, 0.30, pageWatch},
		{AlarmMonth, 0.10, pageWatch},
		{DashboardMonth, 3.00, pageWatch},

		{CloudMapCalls, 1.00, pageCloudMap},
		{HostedZone, 0.50, pageRoute53},
		{ECRGB, 0.10, pageECR},
		{SecretMonth, 0.40, pageSecrets},
		{KeyMonth, 1.00, pageKMS},
		{S3GB, 0.023, pageS3},
		{DatabaseMicro, 0.016, pageRDS},
		{DatabaseSmall, 0.032, pageRDS},
		{DatabaseMedium, 0.065, pageRDS},
		{DatabaseGB, 0.115, pageRDS},
	}
}

// A Table is what items cost in a region.
type Table struct {
	Region string
	prices map[Item]Price
}

// Regions returns the regions whose prices are known.
func Regions() []string { return []string{"us-east-1", "us-west-2"} }

// In returns the prices of a region, or an error that names those that are known.
func In(region string) (Table, error) {
	if !slices.Contains(Regions(), region) {
		return Table{}, fmt.Errorf("the prices of %q are not known, only those of %s", region, strings.Join(Regions(), " and "))
	}
	t := Table{Region: region, prices: make(map[Item]Price)}
	for _, p := range table() {
		t.prices[p.Item] = p
	}
	return t, nil
}

// Of returns what an item costs. An item that is not in the table is a mistake of
// the caller, and panics.
func (t Table) Of(i Item) float64 {
	p, ok := t.prices[i]
	if !ok {
		panic(fmt.Sprintf("prices: %q has no price", string(i)))
	}
	return p.Dollar
}

// All returns the prices in the order of their items' names. The caller owns the
// slice.
func (t Table) All() []Price {
	return slices.SortedFunc(maps.Values(t.prices), func(a, b Price) int { return strings.Compare(string(a.Item), string(b.Item)) })
}
