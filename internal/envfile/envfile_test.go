package envfile_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/geecache/geecache/internal/cli"
	"github.com/geecache/geecache/internal/envbench"
	"github.com/geecache/geecache/internal/envfile"
)

func parse(t *testing.T, text string) *envfile.File {
	t.Helper()
	f, err := envfile.Parse("geecache.yaml", []byte(text), cli.CheckNodeEnvironment)
	if err != nil {
		t.Fatalf("%v\nin\n%s", err, text)
	}
	return f
}

// render returns what is written, by environment.
func render(t *testing.T, f *envfile.File) map[string]string {
	t.Helper()
	all, err := f.Render()
	if err != nil {
		t.Fatal(err)
	}
	texts := make(map[string]string)
	for _, r := range all {
		texts[r.Environment] = string(r.Text)
	}
	return texts
}

// The example in the root is what its files were written from, and a change of it shows.
func TestExample(t *testing.T) {
	const root = "../.."
	text, err := os.ReadFile(filepath.Join(root, envfile.DefaultName))
	if err != nil {
		t.Fatal(err)
	}
	drifted := func(text []byte) (names []string) {
		all, err := parse(t, string(text)).Render()
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range all {
			have, err := os.ReadFile(filepath.Join(root, "rendered", r.Name))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(have, r.Text) {
				names = append(names, r.Name)
			}
		}
		return names
	}
	if names := drifted(text); names != nil {
		t.Errorf("%v are not what %s says: run geecache env render", names, envfile.DefaultName)
	}
	planted := bytes.Replace(text, []byte("not_found_ttl: 5s"), []byte("not_found_ttl: 6s"), 1)
	if names := drifted(planted); len(names) != 3 {
		t.Errorf("a change of not_found_ttl shows in %v, want all three files", names)
	}
}

// paths returns the fields of a struct that hold no more, with their types.
func paths(kind reflect.Type, path string) map[string]reflect.Type {
	all := make(map[string]reflect.Type)
	for i := range kind.NumField() {
		f := kind.Field(i)
		name, option, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		inner := f.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		switch {
		case !f.IsExported():
			continue
		case option == "inline":
			name = path
		default:
			name = strings.TrimPrefix(path+"."+name, ".")
		}
		if inner.Kind() == reflect.Struct {
			for p, k := range paths(inner, name) {
				all[p] = k
			}
		} else {
			all[name] = inner
		}
	}
	return all
}

// sample returns a value for a field, as YAML.
func sample(t *testing.T, path string, kind reflect.Type) string {
	last := path[strings.LastIndex(path, ".")+1:]
	if own, is := map[string]string{
		"name": "sample", "image": "sample:1", "memory": "4GiB", "api_memory": "4GiB", "cache": "48MiB", "hot": "3MiB", "ttl": "7m", "not_found_ttl": "7s",
		"url": "https://origin.example/{key}", "query": "select v from t where k = $1", "registry": "etcd://etcd:2379/sample",
		"bytes": "7MiB", "interval": "7m", "load_time": "7s", "max_age": "7h", "cpu": "1024", "api_cpu": "1024",
		"kind": "localstack", "architecture": "ARM64", "zones": "3", "egress": "public", "stop_timeout": "77", "vpc_cidr": "10.7.0.0/16",
		"allowed_cidrs": "[203.0.113.7/32]", "alarm_emails": "[sample@example.com]", "database_ca_file": "/sample/ca.pem", "cloudwatch_dimensions": "node", "cloudwatch_names": "[geecache_loads_*]", "certificate_arn": "arn:aws:acm:sample",
		"source_access": "{sample: {port: 5432, cidr: 10.0.0.0/8}}", "variables": "{GEECACHE_MAX_LOADS: 7}", "tags": "{team: sample}",
		"secrets": "{SAMPLE: env:SAMPLE}", "spot_percent": "70", "cpu_target": "70",
	}[last]; is {
		switch {
		case strings.HasSuffix(path, "snapshot.url"):
			return "s3://sample/prefix"
		case path == "aws.secrets":
			return "{SAMPLE: 'arn:aws:secretsmanager:us-west-2:123456789012:secret:sample'}"
		}
		return own
	}
	switch kind.Kind() {
	case reflect.Bool:
		return "true"
	case reflect.Int, reflect.Float64:
		return "7"
	case reflect.String:
		return "sample"
	}
	t.Fatalf("%s is a %v: give it a sample here", path, kind)
	return ""
}

// document writes a path as YAML.
func document(path, value string) string {
	var b strings.Builder
	names := strings.Split(path, ".")
	for i, name := range names {
		fmt.Fprintf(&b, "%s%s:", strings.Repeat("  ", i), name)
		if i < len(names)-1 {
			b.WriteByte('\n')
		}
	}
	fmt.Fprintf(&b, " %s\n", value)
	return b.String()
}

var comment = regexp.MustCompile(`(?m)^#.*\n`)

// Each field reaches each environment, or there it is told that it does not. Those of a
// section reach that environment alone.
func TestEachFieldReachesEachEnvironment(t *testing.T) {
	all := paths(reflect.TypeFor[envfile.File](), "")
	if len(all) < 100 {
		t.Fatalf("there are %d fields: the walk is broken", len(all))
	}
	for path, kind := range all {
		t.Run(path, func(t *testing.T) {
			base := ""
			if section, is := strings.CutSuffix(path, "source.query"); is {
				base = document(section+"source.url", "postgres://app@db/app")
			}
			text := document(path, sample(t, path, kind))
			if base != "" { // the same mapping holds both
				text = base + text[strings.LastIndex(strings.TrimSuffix(text, "\n"), "\n")+1:]
			}
			f := parse(t, text)
			before, after := render(t, parse(t, base)), render(t, f)
			section, _, _ := strings.Cut(path, ".")
			for _, env := range []string{envbench.Docker, envbench.Emulator, envbench.AWS} {
				changed := comment.ReplaceAllString(before[env], "") != comment.ReplaceAllString(after[env], "")
				told := len(f.Unused(env)) > 0
				inComment := strings.Contains(after[env], "Not used here: "+path)
				switch {
				case slices.Contains(envbench.Environments(), section) && section != env:
					if changed || told {
						t.Errorf("it is not of %s, which it changes (%v) or is told in (%v)", env, changed, told)
					}
				case changed == told:
					t.Errorf("in %s it has an effect: %v; is told to have none: %v", env, changed, told)
				case told != inComment:
					t.Errorf("in %s it is told to have no effect: %v; and in what is written: %v", env, told, inComment)
				}
			}
			if section == envbench.Local { // which is read, and not written
				was, is := parse(t, base).Deployment(section), f.Deployment(section)
				if told := len(f.Unused(section)) > 0; told == !reflect.DeepEqual(was, is) {
					t.Errorf("locally it makes %+v of %+v; it is told to have no effect: %v", is, was, told)
				}
			}
		})
	}
}

// tfVariables returns the types of the variables of aws-terraform.
func tfVariables(t *testing.T) map[string]cty.Type {
	t.Helper()
	const name = "../../aws-terraform/variables.tf"
	src, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	file, diags := hclsyntax.ParseConfig(src, name, hcl.InitialPos)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	all := make(map[string]cty.Type)
	for _, b := range file.Body.(*hclsyntax.Body).Blocks {
		kind, diags := typeexpr.TypeConstraint(b.Body.Attributes["type"].Expr)
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		all[b.Labels[0]] = kind
	}
	return all
}

// assigned returns what a file of variables sets.
func assigned(t *testing.T, text string) map[string]cty.Value {
	t.Helper()
	file, diags := hclsyntax.ParseConfig([]byte(text), "terraform.tfvars", hcl.InitialPos)
	if diags.HasErrors() {
		t.Fatalf("%v in\n%s", diags, text)
	}
	attributes, diags := file.Body.JustAttributes()
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	all := make(map[string]cty.Value)
	for name, a := range attributes {
		value, diags := a.Expr.Value(nil)
		if diags.HasErrors() {
			t.Fatalf("%s: %v", name, diags)
		}
		all[name] = value
	}
	return all
}

// Each variable of aws-terraform can be said in the file, and what is written has the
// names and the types that it has there.
func TestTerraformVariables(t *testing.T) {
	variables := tfVariables(t)
	set := make(map[string]bool)
	for path, kind := range paths(reflect.TypeFor[envfile.File](), "") {
		if strings.HasSuffix(path, "source.query") {
			continue // which needs a database beside it
		}
		text := document(path, sample(t, path, kind))
		written := render(t, parse(t, text))[envbench.AWS]
		if !bytes.Equal(hclwrite.Format([]byte(written)), []byte(written)) {
			t.Errorf("%s: not formatted as terraform fmt does:\n%s", path, written)
		}
		for name, value := range assigned(t, written) {
			want, known := variables[name]
			if !known {
				t.Errorf("%s becomes %s, which variables.tf does not have", path, name)
				continue
			}
			if _, err := convert.Convert(value, want); err != nil {
				t.Errorf("%s becomes %s, which is %s there: %v", path, name, want.FriendlyName(), err)
			}
			set[name] = true
		}
	}
	for name := range assigned(t, render(t, parse(t, "source: {url: 'postgres://app@db/app', query: select 1}\n"))[envbench.AWS]) {
		set[name] = true
	}
	set["image_tag"] = true // deploy.sh makes and sets it
	for name := range variables {
		if !set[name] {
			t.Errorf("%s cannot be said in the file: give AWS a field for it", name)
		}
	}
}

// Characters that mean something to HCL, to Compose or to a shell arrive as they are.
func TestQuoting(t *testing.T) {
	const query = `select "v", '${x}' from t where k = $1 and a like '%{b}' -- ü`
	f := parse(t, "source:\n  url: postgres://app@db/app\n  query: >-\n    "+query+"\n")
	got := assigned(t, render(t, f)[envbench.AWS])["source_query"]
	if got.AsString() != query {
		t.Errorf("Terraform reads %q, want %q", got.AsString(), query)
	}
	if d := f.Deployment(envbench.Docker); d.Query != query {
		t.Errorf("the query is %q", d.Query)
	}
	want := strings.ReplaceAll(query, "$", "$$")
	if text := render(t, f)[envbench.Docker]; !strings.Contains(text, want) {
		t.Errorf("Compose would take $ for a variable's beginning in\n%s", text)
	}
}

func TestFlawsAreTold(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"unknown field", "nods: 3\n", `geecache.yaml:1: the file has no field "nods": did you mean nodes?`},
		{"unknown field of a section", "aws:\n  zone: 3\n", `geecache.yaml:2: aws has no field "zone": did you mean zones?`},
		{"far from all", "docker:\n  xyzzyxyzzyxyzzy: 3\n", `geecache.yaml:2: docker has no field "xyzzyxyzzyxyzzy"`},
		{"no number", "\nnodes: many\n", `geecache.yaml:2: nodes is "many": use a whole number`},
		{"part of a node", "\nnodes: 3.9\n", `geecache.yaml:2: nodes is "3.9": use a whole number`},
		{"an octal number", "\nnodes: 010\n", `geecache.yaml:2: nodes is "010": use a whole number`},
		{"part of a unit", "\naws: {cpu: 256.7}\n", `geecache.yaml:2: aws.cpu is "256.7": use a whole number`},
		{"too many", "nodes: 65\n", "nodes is 65: use 1 to 64"},
		{"more in AWS", "aws: {nodes: 1001}\n", "aws.nodes is 1001: use 1 to 1000"},
		{"no bool", "aws: {flow_logs: yess}\n", `aws.flow_logs is "yess": use true or false`},
		{"no list", "aws: {alarm_emails: a@b}\n", `aws.alarm_emails is "a@b": use a list`},
		{"no mapping", "aws: 3\n", "aws holds fields: write them as NAME: VALUE"},
		{"no value", "name:\n", "name has no value: give it one, or leave it out"},
		{"twice", "nodes: 3\nnodes: 4\n", "geecache.yaml:2: nodes is given in line 1 already"},
		{"two documents", "nodes: 3\n---\nnodes: 4\n", "more than one document"},
		{"no YAML", "a: b: c\n", "geecache.yaml: "},
		{"name", "name: Shop\n", `name is "Shop": use 3 to 20 small letters`},
		{"size", "cache: lots\n", `cache is "lots": use a size such as 64MiB`},
		{"duration", "ttl: 60\n", `ttl is "60": use a duration such as 500ms`},
		{"negative", "docker: {ttl: -1s}\n", `docker.ttl is "-1s": use a positive duration`},
		{"source", "source: {url: 'ftp://x'}\n", `source.url is "ftp://x": nothing opens "ftp:"`},
		{"query without a database", "source: {query: select 1}\n", "source.query in the environment local: --query is for SQL databases"},
		{"registry", "registry: zookeeper://x\n", "registry in the environment docker: "},
		{"choice", "aws: {egress: natt}\n", `aws.egress is "natt": use nat or endpoints or public: did you mean nat?`},
		{"range", "aws: {zones: 4}\n", "aws.zones is 4: use 2 to 3"},
		{"block", "aws: {allowed_cidrs: [203.0.113.0]}\n", `aws.allowed_cidrs has "203.0.113.0": use a block`},
		{"size of Fargate", "memory: 300MiB\n", "memory is 300MiB, and Fargate has no such size: give aws.memory"},
		{"size of Fargate with its CPU", "aws: {cpu: 256, memory: 4GiB}\n", "aws.memory is 4GiB, and Fargate has no such size for aws.cpu 256: with it use 512 to 2048 MiB"},
		{"CPU of Fargate", "aws: {cpu: 300}\n", "aws.cpu of 300 units is no size of Fargate"},
		{"misspelt variable", "variables: {GEECACHE_TTLL: 1m}\n", "variables.GEECACHE_TTLL is \"1m\": no flag of geecache node has the variable"},
		{"variable that is a field", "variables: {GEECACHE_TTL: 1m}\n", "variables.GEECACHE_TTL is the field ttl: write it there"},
		{"variable of the environment", "variables: {GEECACHE_LISTEN: ':1'}\n", "variables.GEECACHE_LISTEN is set by each environment itself"},
		{"secret among variables", "variables: {PGPASSWORD: open-sesame}\n", "variables.PGPASSWORD is a secret: give it by reference, in secrets as PGPASSWORD: env:VARIABLE or file:PATH"},
		{"plain secret", "secrets: {PGPASSWORD: open-sesame}\n", "secrets.PGPASSWORD is written in clear: give it by reference"},
		{"secret of AWS", "aws: {secrets: {PGPASSWORD: 'env:X'}}\n", "aws.secrets.PGPASSWORD is no reference for AWS: use the ARN"},
		{"password in a URL", "source: {url: 'postgres://app:open-sesame@db/app'}\n", "source.url has a password in clear: give the whole by reference, in secrets as GEECACHE_SOURCE: env:VARIABLE"},
		{"password with a slash", "source: {url: 'postgres://app:open-/sesame@db/app'}\n", "source.url has a password in clear"},
		{"password in a parameter", "docker: {source: {url: 'postgres://db/app?password=open-sesame'}}\n", "docker.source.url has a password in clear"},
		{"password in a variable", "variables: {X: 'http://a:open-sesame@b'}\n", "variables.X has a password in clear: give the whole by reference, in secrets as X: env:VARIABLE"},
		{"secret by another name", "variables: {UPSTREAM_API_KEY: open-sesame}\n", "variables.UPSTREAM_API_KEY is a secret: give it by reference"},
		{"a short name for a secret", "variables: {DB_PASS: open-sesame}\n", "variables.DB_PASS is a secret: give it by reference"},
		{"token under any name", "variables: {X: 'Bearer open-sesame'}\n", "variables.X has a key or a token in clear: give the whole by reference, in secrets as X: env:VARIABLE"},
		{"key of AWS under any name", "variables: {X: AKIAABCDEFGHIJKLMNOP}\n", "variables.X has a key or a token in clear"},
		{"token in a URL", "source: {url: 'https://origin.example/{key}?access_token=open-sesame'}\n", "source.url has a password in clear"},
		{"image without a name", "image: ':1'\n", `image is ":1": use a reference such as geecache:latest`},
		{"image with large letters", "docker: {image: 'Shop/GeeCache:1'}\n", `docker.image is "Shop/GeeCache:1": use a reference`},
		{"image with a space", "aws: {image: 'geecache: 1'}\n", `aws.image is "geecache: 1": use a reference`},
		{"image with two tags", "image: 'geecache:1:2'\n", `image is "geecache:1:2": use a reference`},
		{"merge", "docker: &d {nodes: 5}\nemulator:\n  <<: *d\n", "geecache.yaml:3: emulator merges another mapping (<<), which this file does not know: write its fields out"},
		{"merge at the top", "<<: {nodes: 5}\n", "geecache.yaml:1: the file merges another mapping (<<)"},
		{"merge of variables", "variables:\n  <<: {X: y}\n", "geecache.yaml:2: variables merges another mapping (<<)"},
		{"source in two ways", "source: {url: 'slowdb:'}\nsecrets: {GEECACHE_SOURCE: 'env:X'}\n", "secrets.GEECACHE_SOURCE and source.url: leave one of them out"},
		{"secret and variable", "variables: {X: y}\nsecrets: {X: 'env:X'}\n", "secrets.X is among the variables, too"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := envfile.Parse("geecache.yaml", []byte(tt.text), cli.CheckNodeEnvironment)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("the error is %v\nwant %q in it", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "sesame") {
				t.Errorf("a password is told: %v", err)
			}
		})
	}
}

func TestWhatIsNoFlaw(t *testing.T) {
	digest := "@sha256:" + strings.Repeat("0a", 32)
	for _, text := range []string{
		"image: geecache\n", "image: geecache:latest\n", "image: 'localhost:5000/team/geecache:1.2.3-rc.1'\n", "image: 'ghcr.io/team/gee_cache" + digest + "'\n",
		"image: '123456789012.dkr.ecr.us-west-2.amazonaws.com/geecache:" + strings.Repeat("a", 128) + "'\n", "image: 'Registry.example/geecache:1" + digest + "'\n",
		"variables: {BYPASS: y, AUTHOR: y, PATIENCE: 1s, MONKEY: y, GEECACHE_API_TOKEN_FILE: /run/token}\n",
		"docker: &d {nodes: 5}\nemulator: *d\n",
	} {
		if _, err := envfile.Parse("geecache.yaml", []byte(text), cli.CheckNodeEnvironment); err != nil {
			t.Errorf("%s%v", text, err)
		}
	}
}

func TestSectionsWin(t *testing.T) {
	f := parse(t, `
nodes: 3
source: {url: 'postgres://app@db/app', query: select 1}
variables: {GEECACHE_LOG_LEVEL: warn, GEECACHE_MAX_LOADS: 7}
docker:
  nodes: 5
  source: {url: 'slowdb:'}
  variables: {GEECACHE_LOG_LEVEL: debug}
`)
	d := f.Deployment(envbench.Docker)
	if d.Nodes != 5 || d.Source != "slowdb:" || d.Query != "" || d.Variables["GEECACHE_LOG_LEVEL"] != "debug" || d.Variables["GEECACHE_MAX_LOADS"] != "7" {
		t.Errorf("in Docker it is %+v", d)
	}
	if d = f.Deployment(envbench.Emulator); d.Nodes != 3 || d.Query != "select 1" || d.Variables["GEECACHE_LOG_LEVEL"] != "warn" {
		t.Errorf("in an emulator it is %+v", d)
	}
}
