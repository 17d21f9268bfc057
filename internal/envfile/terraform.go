package envfile

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/gocty"

	"github.com/geecache/geecache/internal/envbench"
	"github.com/geecache/geecache/internal/words"
)

// A taskSize is what a task of Fargate gets: CPU units and MiB.
type taskSize struct {
	CPU    int `cty:"cpu"`
	Memory int `cty:"memory"`
}

// fargate are the sizes that Fargate has, by CPU units: the least and the most memory,
// and the steps between, in MiB.
var fargate = []struct{ cpu, least, most, step int }{
	{256, 512, 2048, 512}, {512, 1024, 4096, 1024}, {1024, 2048, 8192, 1024}, {2048, 4096, 16384, 1024},
	{4096, 8192, 30720, 1024}, {8192, 16384, 61440, 4096}, {16384, 32768, 122880, 8192},
}

// size returns the size with so much CPU and memory. What is not given becomes the
// least that goes with the other; zero if neither is.
func size(cpu int, memory string) (taskSize, error) {
	if cpu == 0 && memory == "" {
		return taskSize{}, nil
	}
	mib := 0
	if memory != "" {
		n, err := words.Bytes(memory)
		if err != nil {
			return taskSize{}, err
		}
		mib = int(n >> 20)
		if int64(mib)<<20 != n {
			mib = -1 // no size
		}
	}
	var cpus []string
	for _, f := range fargate {
		cpus = append(cpus, fmt.Sprint(f.cpu))
		if cpu != 0 && f.cpu != cpu {
			continue
		}
		if mib == 0 {
			return taskSize{f.cpu, f.least}, nil
		}
		steps := mib >= f.least && mib <= f.most && (mib-f.least)%f.step == 0 && (f.cpu > 256 || mib != 1536)
		if steps {
			return taskSize{f.cpu, mib}, nil
		}
		if cpu != 0 {
			return taskSize{}, fmt.Errorf("is %s, and Fargate has no such size for aws.cpu %d: with it use %d to %d MiB in steps of %d, e.g. in aws.memory", memory, cpu, f.least, f.most, f.step)
		}
	}
	if cpu != 0 && !slices.Contains(cpus, fmt.Sprint(cpu)) {
		return taskSize{}, fmt.Errorf("of %d units is no size of Fargate: use %s", cpu, strings.Join(cpus, ", "))
	}
	return taskSize{}, fmt.Errorf("is %s, and Fargate has no such size: give aws.memory one such as 512MiB, 1GiB or 4GiB", memory)
}

// terraform returns the variables for aws-terraform/.
func (f *File) terraform() ([]byte, error) {
	file := hclwrite.NewEmptyFile()
	body := file.Body()
	var failed error
	set := func(name string, v any) {
		kind, err := gocty.ImpliedType(v)
		var value cty.Value
		if err == nil {
			value, err = gocty.ToCtyValue(v, kind)
		}
		if err != nil {
			failed = fmt.Errorf("%s: %w", name, err)
			return
		}
		body.SetAttributeValue(name, value)
	}
	s := f.settings(envbench.AWS)
	for _, v := range []struct {
		name  string
		value any
	}{
		{"name", f.Name}, {"image", f.AWS.Image}, {"node_count", s.Nodes},
		{"source_url", s.Source.URL}, {"source_query", s.Source.Query},
	} {
		if !reflect.ValueOf(v.value).IsZero() {
			set(v.name, v.value)
		}
	}
	if t, err := size(f.AWS.CPU, s.Memory); err == nil && t.CPU > 0 {
		set("node_size", t)
	}
	if t, err := size(f.AWS.APICPU, f.AWS.APIMemory); err == nil && t.CPU > 0 {
		set("api_size", t)
	}
	if env := f.variables(envbench.AWS); len(env) > 0 {
		set("environment", env)
	}
	if len(f.AWS.Secrets) > 0 {
		set("node_secrets", f.AWS.Secrets)
	}
	v := reflect.ValueOf(f.AWS)
	for i := range v.NumField() {
		tag, value := v.Type().Field(i).Tag, v.Field(i)
		if strings.Contains(tag.Get("yaml"), "inline") || tag.Get("tf") == "-" || value.IsZero() {
			continue
		}
		set(tag.Get("yaml"), reflect.Indirect(value).Interface())
	}
	if failed != nil {
		return nil, failed
	}
	return append(f.heading("#", envbench.AWS), bytes.TrimLeft(hclwrite.Format(file.Bytes()), "\n")...), nil
}
