// Package tfdeploy reads what Terraform says of the deployment in aws-terraform/: it
// checks it against the rules of this project, estimates its cost, and writes which
// resources are to be adopted. It calls neither Terraform nor AWS.
package tfdeploy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// A Resource is one that is planned, or one that is there.
type Resource struct {
	Address string         `json:"address"`
	Mode    string         `json:"mode"` // "managed" or "data"
	Type    string         `json:"type"`
	Name    string         `json:"name"`
	Index   any            `json:"index"` // a string, a number or nil
	Values  map[string]any `json:"values"`
}

// text returns a value that is a text; else an empty one.
func (r Resource) text(name string) string {
	s, _ := r.Values[name].(string)
	return s
}

// number returns a value that is a number, also if it is written as a text; else 0.
func (r Resource) number(name string) float64 { return number(r.Values[name]) }

func number(v any) float64 {
	switch v := v.(type) {
	case float64:
		return v
	case string:
		var n float64
		if _, err := fmt.Sscan(v, &n); err == nil {
			return n
		}
	}
	return 0
}

// blocks returns the nested blocks of a name.
func (r Resource) blocks(name string) []map[string]any {
	list, _ := r.Values[name].([]any)
	var all []map[string]any
	for _, v := range list {
		if block, ok := v.(map[string]any); ok {
			all = append(all, block)
		}
	}
	return all
}

// A Plan is what Terraform will make, or what it has made.
type Plan struct {
	Resources []Resource // managed ones, of all modules
	Creates   map[string]bool
	Variables map[string]any // of the root module; of a plan alone
}

type module struct {
	Resources    []Resource `json:"resources"`
	ChildModules []module   `json:"child_modules"`
}

// Read reads the output of `terraform show -json`, of a plan or of a state.
func Read(r io.Reader) (*Plan, error) {
	var shown struct {
		Planned *struct {
			Root module `json:"root_module"`
		} `json:"planned_values"`
		State *struct {
			Root module `json:"root_module"`
		} `json:"values"`
		Variables map[string]struct{ Value any } `json:"variables"`
		Changes   []struct {
			Address string `json:"address"`
			Change  struct {
				Actions []string `json:"actions"`
			} `json:"change"`
		} `json:"resource_changes"`
	}
	if err := json.NewDecoder(r).Decode(&shown); err != nil {
		return nil, fmt.Errorf("the output of terraform show -json: %w", err)
	}
	p := &Plan{Creates: make(map[string]bool)}
	switch {
	case shown.Planned != nil:
		p.add(shown.Planned.Root)
	case shown.State != nil:
		p.add(shown.State.Root)
	default:
		return nil, errors.New("there are neither planned values nor a state: give the output of terraform show -json")
	}
	p.Variables = make(map[string]any)
	for name, v := range shown.Variables {
		p.Variables[name] = v.Value
	}
	for _, c := range shown.Changes {
		if len(c.Change.Actions) == 1 && c.Change.Actions[0] == "create" {
			p.Creates[c.Address] = true
		}
	}
	return p, nil
}

func (p *Plan) add(m module) {
	for _, r := range m.Resources {
		if r.Mode == "managed" {
			p.Resources = append(p.Resources, r)
		}
	}
	for _, child := range m.ChildModules {
		p.add(child)
	}
}

// of returns the resources of some types.
func (p *Plan) of(types ...string) []Resource {
	var found []Resource
	for _, r := range p.Resources {
		for _, t := range types {
			if r.Type == t {
				found = append(found, r)
			}
		}
	}
	return found
}
