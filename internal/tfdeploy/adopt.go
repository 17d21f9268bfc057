package tfdeploy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// A Found is what AWS was found to hold of a deployment, in the form of the answers of
// its command line: of get-resources of the tagging API, of list-roles of IAM, of
// describe-route-tables of EC2 and of describe-budgets.
type Found struct {
	ResourceTagMappingList []struct {
		ResourceARN string
		Tags        []struct{ Key, Value string }
	}
	Roles       []struct{ RoleName string }
	RouteTables []struct {
		RouteTableID string
		Associations []struct{ SubnetID string }
		Routes       []struct{ DestinationCidrBlock, Origin string }
	}
	Budgets []struct{ BudgetName string }
	Account string
}

// ReadFound reads answers, one after the other, and puts them together.
func ReadFound(r io.Reader) (*Found, error) {
	var all Found
	for dec := json.NewDecoder(r); ; {
		var f Found
		if err := dec.Decode(&f); errors.Is(err, io.EOF) {
			return &all, nil
		} else if err != nil {
			return nil, fmt.Errorf("what AWS was found to hold: %w", err)
		}
		all.ResourceTagMappingList = append(all.ResourceTagMappingList, f.ResourceTagMappingList...)
		all.Roles = append(all.Roles, f.Roles...)
		all.RouteTables = append(all.RouteTables, f.RouteTables...)
		all.Budgets = append(all.Budgets, f.Budgets...)
		if f.Account != "" {
			all.Account = f.Account
		}
	}
}

// How resources are called by AWS, and what Terraform imports them by.
const (
	byName = iota // the ARN ends with the name; imported by name
	byARN         // the same with something after the name; imported by the ARN
	byTag         // the tag Name is the name; imported by the end of the ARN
	tagARN        // the same; imported by the ARN
)

// A kind says how a type of resource is found: its ARN's service and the beginning
// of what comes after region and account, and the argument that names it.
type kind struct {
	how              int
	service, prefix  string
	argument, suffix string
}

func kinds() map[string]kind {
	return map[string]kind{
		"aws_ecr_repository":          {byName, "ecr", "repository/", "name", ""},
		"aws_ecs_cluster":             {byName, "ecs", "cluster/", "name", ""},
		"aws_cloudwatch_log_group":    {byName, "logs", "log-group:", "name", ""},
		"aws_s3_bucket":               {byName, "s3", "", "bucket", ""},
		"aws_cloudwatch_metric_alarm": {byName, "cloudwatch", "alarm:", "alarm_name", ""},
		"aws_db_instance":             {byName, "rds", "db:", "identifier", ""},
		"aws_db_subnet_group":         {byName, "rds", "subgrp:", "name", ""},
		"aws_db_parameter_group":      {byName, "rds", "pg:", "name", ""},

		"aws_sns_topic":             {byARN, "sns", "", "name", ""},
		"aws_lb":                    {byARN, "elasticloadbalancing", "loadbalancer/app/", "name", "/"},
		"aws_lb_target_group":       {byARN, "elasticloadbalancing", "targetgroup/", "name", "/"},
		"aws_secretsmanager_secret": {byARN, "secretsmanager", "secret:", "name", "-"},

		"aws_vpc":                             {byTag, "ec2", "vpc/", "", ""},
		"aws_subnet":                          {byTag, "ec2", "subnet/", "", ""},
		"aws_internet_gateway":                {byTag, "ec2", "internet-gateway/", "", ""},
		"aws_route_table":                     {byTag, "ec2", "route-table/", "", ""},
		"aws_security_group":                  {byTag, "ec2", "security-group/", "", ""},
		"aws_eip":                             {byTag, "ec2", "elastic-ip/", "", ""},
		"aws_nat_gateway":                     {byTag, "ec2", "natgateway/", "", ""},
		"aws_vpc_endpoint":                    {byTag, "ec2", "vpc-endpoint/", "", ""},
		"aws_flow_log":                        {byTag, "ec2", "vpc-flow-log/", "", ""},
		"aws_vpc_security_group_ingress_rule": {byTag, "ec2", "security-group-rule/", "", ""},
		"aws_vpc_security_group_egress_rule":  {byTag, "ec2", "security-group-rule/", "", ""},
		"aws_kms_key":                         {byTag, "kms", "key/", "", ""},
		"aws_service_discovery_service":       {byTag, "servicediscovery", "service/", "", ""},
		"aws_lb_listener":                     {tagARN, "elasticloadbalancing", "listener/app/", "", ""},
		"aws_lb_listener_rule":                {tagARN, "elasticloadbalancing", "listener-rule/app/", "", ""},
	}
}

// An Import is a resource that Terraform is to adopt instead of making it.
type Import struct{ To, ID string }

// Adopt returns what a plan would make though AWS holds it already, of an earlier run
// whose state is lost or incomplete, and what is there more than once, which nobody
// but its owner can decide. What AWS lets be made twice, or writes anew, is left out.
func Adopt(p *Plan, f *Found) (imports []Import, ambiguous []string) {
	ids := make(map[string]string) // by address
	for _, r := range p.Resources {
		if !p.Creates[r.Address] {
			continue
		}
		found := f.find(r)
		switch {
		case len(found) > 1:
			ambiguous = append(ambiguous, fmt.Sprintf("%s: %s", r.Address, strings.Join(found, ", ")))
		case len(found) == 1:
			ids[r.Address] = found[0]
			imports = append(imports, Import{r.Address, found[0]})
		}
	}
	for _, r := range p.Resources {
		if id := f.findInside(r, ids); p.Creates[r.Address] && id != "" {
			imports = append(imports, Import{r.Address, id})
		}
	}
	return imports, ambiguous
}

// find returns the import IDs of what may be a resource.
func (f *Found) find(r Resource) []string {
	var ids []string
	switch r.Type {
	case "aws_iam_role":
		for _, role := range f.Roles {
			if role.RoleName == r.text("name") {
				ids = append(ids, role.RoleName)
			}
		}
		return ids
	case "aws_budgets_budget":
		for _, b := range f.Budgets {
			if b.BudgetName == r.text("name") && f.Account != "" {
				ids = append(ids, f.Account+":"+b.BudgetName)
			}
		}
		return ids
	case "aws_ecs_service":
		for _, m := range f.ResourceTagMappingList {
			if _, rest, ok := strings.Cut(m.ResourceARN, ":service/"); ok && strings.HasSuffix(rest, "/"+r.text("name")) && strings.Contains(m.ResourceARN, ":ecs:") {
				ids = append(ids, rest)
			}
		}
		return ids
	}
	k, known := kinds()[r.Type]
	if !known {
		return nil
	}
	for _, m := range f.ResourceTagMappingList {
		parts := strings.SplitN(m.ResourceARN, ":", 6)
		if len(parts) != 6 || parts[2] != k.service || !strings.HasPrefix(parts[5], k.prefix) {
			continue
		}
		rest := strings.TrimSuffix(strings.TrimPrefix(parts[5], k.prefix), ":*")
		name := ""
		for _, tag := range m.Tags {
			if tag.Key == "Name" {
				name = tag.Value
			}
		}
		switch {
		case k.how == byName && rest == r.text(k.argument):
			ids = append(ids, rest)
		case k.how == byARN && (k.suffix == "" && rest == r.text(k.argument) || k.suffix != "" && strings.HasPrefix(rest, r.text(k.argument)+k.suffix) && !strings.ContainsAny(rest[len(r.text(k.argument))+1:], k.suffix+" ")):
			ids = append(ids, m.ResourceARN)
		case k.how == byTag && name != "" && name == nameTag(r):
			ids = append(ids, rest)
		case k.how == tagARN && name != "" && name == nameTag(r):
			ids = append(ids, m.ResourceARN)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

func nameTag(r Resource) string {
	tags, _ := r.Values["tags"].(map[string]any)
	name, _ := tags["Name"].(string)
	return name
}

// findInside returns the import ID of what has no name: routes, associations, the
// namespace and the key's other name. ids are those that are adopted, by address.
func (f *Found) findInside(r Resource, ids map[string]string) string {
	beside := func(kind, name string) string {
		module := strings.TrimSuffix(r.Address[:strings.LastIndex(r.Address, r.Type+".")], ".")
		if module != "" {
			module += "."
		}
		address := module + kind + "." + name
		if id := ids[address]; id != "" {
			return id
		}
		if index, ok := r.Index.(string); ok {
			return ids[fmt.Sprintf("%s[%q]", address, index)]
		}
		return ""
	}
	switch r.Type {
	case "aws_route_table_association":
		subnet, table := beside("aws_subnet", r.Name), beside("aws_route_table", r.Name)
		for _, t := range f.RouteTables {
			for _, a := range t.Associations {
				if subnet != "" && t.RouteTableID == table && a.SubnetID == subnet {
					return subnet + "/" + table
				}
			}
		}
	case "aws_route":
		table := beside("aws_route_table", map[string]string{"internet": "public", "nat": "private"}[r.Name])
		for _, t := range f.RouteTables {
			for _, route := range t.Routes {
				if t.RouteTableID == table && route.DestinationCidrBlock == r.text("destination_cidr_block") {
					return table + "_" + route.DestinationCidrBlock
				}
			}
		}
	case "aws_service_discovery_private_dns_namespace":
		vpc := ids["module.network.aws_vpc.main"]
		for _, m := range f.ResourceTagMappingList {
			if _, id, ok := strings.Cut(m.ResourceARN, ":namespace/"); ok && vpc != "" && slices.ContainsFunc(m.Tags, func(t struct{ Key, Value string }) bool { return t.Key == "Name" && t.Value == nameTag(r) }) {
				return id + ":" + vpc
			}
		}
	case "aws_kms_alias":
		if ids["module.key[0].aws_kms_key.main"] != "" {
			return r.text("name")
		}
	}
	return ""
}

// WriteImports writes a line for each import, with a tab between address and ID.
func WriteImports(w io.Writer, imports []Import) error {
	for _, i := range imports {
		if _, err := fmt.Fprintf(w, "%s\t%s\n", i.To, i.ID); err != nil {
			return err
		}
	}
	return nil
}
