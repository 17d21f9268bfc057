package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/geecache/geecache"

const (
	xxhash   = "github.com/cespare/xxhash/v2"
	protobuf = "google.golang.org/protobuf"
	anything = "*"
)

// A rule says what the packages of a pattern may import, apart from the
// standard library. Packages of this module are patterns relative to its root;
// others are module paths. The first rule whose pattern matches a package holds.
type rule struct {
	pattern string
	own     []string
	others  []string
}

// The imports point one way: main -> cli -> node -> adapters -> geecache -> leaves.
// Beside a package that is not listed there is no choice but to fail: a new
// package is a decision, and this is where it is made.
var (
	leaves = []string{"lru", "consistenthash", "singleflight"}
	core   = append([]string{"geecache", "geecachepb"}, leaves...)

	rules = []rule{
		{".", []string{"internal/cli"}, nil},

		{"lru", nil, []string{xxhash}},
		{"consistenthash", nil, []string{xxhash}},
		{"singleflight", nil, []string{xxhash}},
		{"geecachepb", nil, []string{protobuf}},
		{"geecache", append([]string{"geecachepb", "internal/listen", "internal/plain", "internal/socket"}, leaves...), []string{xxhash, protobuf}},

		// Adapters know the core and the seam that they fill, and never each other.
		{"peergrpc", []string{"geecache", "geecachepb"}, []string{"google.golang.org/grpc", protobuf}},
		{"metrics", []string{"geecache"}, []string{anything}},
		{"metrics/*", []string{"metrics", "internal/awsapi"}, []string{anything}},
		{"registry", []string{"geecache"}, nil},
		{"registry/*", []string{"geecache", "registry", "internal/awsapi", "internal/ecstask"}, []string{anything}},
		{"snapshot", []string{"geecache"}, []string{xxhash, "github.com/klauspost/compress", "golang.org/x/sync"}},
		{"snapshot/*", []string{"snapshot", "internal/awsapi"}, []string{anything}},
		{"source", []string{"geecache"}, nil},
		{"source/*", []string{"geecache", "source"}, []string{anything}},

		{"internal/awsapi", []string{"registry"}, []string{anything}},
		{"internal/mototest", nil, nil},
		{"internal/ecstask", nil, nil},
		{"internal/listen", []string{"internal/socket"}, nil},
		{"internal/socket", nil, nil},
		{"internal/memory", nil, nil},
		{"internal/trust", nil, nil},
		{"internal/plain", nil, nil},
		{"internal/tracefile", nil, nil},
		{"internal/loadgen", append([]string{"internal/tracefile"}, core...), []string{anything}},
		{"internal/web", []string{"geecache"}, []string{anything}},
		{"internal/registries", []string{"geecache", "registry", "registry/*", "internal/ecstask"}, []string{anything}},
		{"internal/node", append([]string{"internal/registries", "peergrpc", "metrics", "metrics/*", "registry", "registry/*", "snapshot", "snapshot/*", "source", "source/*", "internal/web", "internal/listen", "internal/memory", "internal/trust", "internal/plain"}, core...), []string{anything}},
		{"internal/machine", nil, nil},
		{"internal/stat", nil, nil},
		{"internal/figures", []string{"internal/prices", "internal/stat"}, []string{anything}},
		{"internal/plot", nil, nil},
		{"internal/envbench/result", []string{"internal/machine", "internal/stat"}, nil},
		{"internal/envbench/judge", append([]string{"internal/envbench", "internal/envbench/result", "internal/loadgen", "internal/awsapi", "internal/machine", "internal/stat", "internal/prices", "internal/registries", "registry", "registry/*", "metrics"}, core...), []string{anything}},
		{"internal/envbench/report", []string{"internal/envbench/result", "internal/stat", "internal/plot", "internal/prices", "internal/machine"}, []string{anything}},
		{"internal/envbench/advise", []string{"internal/envbench", "internal/envbench/result", "internal/prices", "internal/words"}, nil},
		{"internal/words", nil, nil},
		{"internal/envfile", []string{"internal/envbench", "internal/words"}, []string{anything}},
		{"internal/envbench", append([]string{"internal/envbench/result", "internal/loadgen", "internal/awsapi", "internal/registries", "registry", "registry/*"}, core...), []string{anything}},
		{"internal/cli", append([]string{"peergrpc", "metrics", "registry", "registry/*", "source", "source/*", "internal/*", "internal/envbench/*"}, core...), []string{anything}},

		{"internal/prices", nil, nil},
		{"internal/tfdeploy", []string{"internal/prices"}, nil},
		{"aws-terraform/cmd/tfdeploy", []string{"internal/cli", "internal/prices", "internal/tfdeploy", "metrics"}, nil},

		{"internal/archtest", nil, nil},
		{"localstack-setup/hello", nil, nil},
		{"e2e", nil, nil},
	}
)

// A listed package, as go list -json prints it.
type listed struct {
	ImportPath string
	Imports    []string
	Standard   bool
	Module     *struct{ Path string }
	Error      *struct{ Err string }
}

func TestImportsPointOneWay(t *testing.T) {
	for _, goos := range []string{"linux", "darwin", "windows"} {
		for _, v := range violations(goList(t, goos, "./...")) {
			t.Errorf("on %s: %s", goos, v)
		}
	}
}

// Whoever imports the library compiles the standard library, a hash function
// and protobuf.
func TestLibraryCompilesNothingMore(t *testing.T) {
	if _, err := os.Stat("../../geecache"); errors.Is(err, os.ErrNotExist) {
		t.Fatal("there is no package geecache: has it moved? Then this test must move with it")
	}
	allowed := append([]string{"geecache", "geecachepb", "internal/listen", "internal/plain", "internal/socket"}, leaves...)
	for _, goos := range []string{"linux", "darwin", "windows"} {
		for _, p := range goList(t, goos, "-deps", "./geecache") {
			switch {
			case p.Standard, within(p.ImportPath, xxhash), within(p.ImportPath, protobuf):
			case slices.Contains(allowed, relative(p.ImportPath)):
			default:
				t.Errorf("on %s, importing %s/geecache compiles %s: find the import that brings it and cut it", goos, module, p.ImportPath)
			}
		}
	}
}

// Whoever wants a node's metrics for Prometheus compiles no SDK of AWS.
func TestMetricsCompileNoSDK(t *testing.T) {
	for _, p := range goList(t, "linux", "-deps", "./metrics") {
		if strings.HasPrefix(p.ImportPath, "github.com/aws/") {
			t.Errorf("importing %s/metrics compiles %s: what needs it belongs into metrics/cloudwatch", module, p.ImportPath)
		}
	}
}

func TestViolations(t *testing.T) {
	pkg := func(name string, imports ...string) listed {
		return listed{ImportPath: path.Join(module, name), Imports: imports}
	}
	tests := []struct {
		name string
		pkg  listed
		want string // in the violation; empty for none
	}{
		{"leaf with the hash", pkg("lru", "sync", xxhash), ""},
		{"leaf importing a leaf", pkg("lru", module+"/singleflight"), "may not import singleflight"},
		{"leaf importing a stranger", pkg("consistenthash", "golang.org/x/sync/errgroup"), "may not import golang.org/x/sync/errgroup"},
		{"library importing gRPC", pkg("geecache", "google.golang.org/grpc"), "may not import google.golang.org/grpc"},
		{"library importing what only starts like protobuf", pkg("geecache", protobuf+"x/proto"), "may not import"},
		{"library importing protobuf", pkg("geecache", protobuf+"/proto"), ""},
		{"messages importing gRPC", pkg("geecachepb", "google.golang.org/grpc/codes"), "may not import"},
		{"adapter importing an adapter", pkg("source/sql", module+"/source/slowdb"), "may not import source/slowdb"},
		{"registry importing a registry", pkg("registry/dns", module+"/registry/etcd"), "may not import registry/etcd"},
		{"registry importing its client", pkg("registry/etcd", "go.etcd.io/etcd/client/v3", module+"/registry"), ""},
		{"registries' core importing a client", pkg("registry", "go.etcd.io/etcd/client/v3"), "may not import go.etcd.io"},
		{"registry importing a source", pkg("registry/dns", module+"/source/http"), "may not import source/http"},
		{"snapshot's storage importing another", pkg("snapshot/s3", module+"/snapshot/file"), "may not import snapshot/file"},
		{"snapshot importing a client", pkg("snapshot", "github.com/aws/aws-sdk-go-v2/service/s3"), "may not import"},
		{"adapter importing its driver", pkg("source/sql", "github.com/jackc/pgx/v5", module+"/geecache"), ""},
		{"node importing adapters", pkg("internal/node", module+"/source/sql", module+"/registry/etcd"), ""},
		{"node importing cli", pkg("internal/node", module+"/internal/cli"), "may not import internal/cli"},
		{"cli importing main", pkg("internal/cli", module), "may not import ."},
		{"main importing node", pkg(".", module+"/internal/node"), "may not import internal/node"},
		{"suite outside of tests", pkg("internal/node", module+"/source/sourcetest"), "only tests"},
		{"suite using a suite", pkg("source/sqltest", module+"/source"), ""},
		{"unknown package", pkg("brandnew"), "is in no rule"},
		{"another nesting", pkg("source/sql/deep"), "is in no rule"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := strings.Join(violations([]listed{tt.pkg}), "\n")
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("violations: %q, want %q", got, tt.want)
			}
		})
	}
}

// violations returns what the rules forbid, one line each.
func violations(pkgs []listed) []string {
	var lines []string
	for _, p := range pkgs {
		name := relative(p.ImportPath)
		i := slices.IndexFunc(rules, func(r rule) bool { return matches(r.pattern, name) })
		if i < 0 {
			lines = append(lines, fmt.Sprintf("package %s is in no rule: add one to the table in internal/archtest/imports_test.go that says what it may import", name))
			continue
		}
		for _, imported := range p.Imports {
			if why := forbids(rules[i], name, imported); why != "" {
				lines = append(lines, why)
			}
		}
	}
	return lines
}

// forbids says why a package under a rule may not import another, or nothing.
func forbids(r rule, name, imported string) string {
	if !within(imported, module) {
		first, _, _ := strings.Cut(imported, "/")
		standard := !strings.Contains(first, ".")
		allows := func(other string) bool { return other == anything || within(imported, other) }
		if standard || slices.ContainsFunc(r.others, allows) {
			return ""
		}
		return fmt.Sprintf("package %s may not import %s", name, imported)
	}
	target := relative(imported)
	if isSuite(target) && !isSuite(name) {
		return fmt.Sprintf("package %s imports %s, which only tests may import", name, target)
	}
	if !slices.ContainsFunc(r.own, func(pattern string) bool { return matches(pattern, target) }) {
		return fmt.Sprintf("package %s may not import %s: imports point one way (the rules are in internal/archtest/imports_test.go)", name, target)
	}
	return ""
}

// isSuite tells packages that exist to test others, such as a contract suite.
func isSuite(name string) bool { return strings.HasSuffix(name, "test") }

// within reports whether a package is root or lies below it.
func within(pkg, root string) bool { return pkg == root || strings.HasPrefix(pkg, root+"/") }

// relative returns a package's path from the module's root, "." for the root.
func relative(pkg string) string {
	if pkg == module {
		return "."
	}
	return strings.TrimPrefix(pkg, module+"/")
}

func matches(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}

// goList lists packages as they are built for a system without cgo.
func goList(t *testing.T, goos string, args ...string) []listed {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-e", "-json=ImportPath,Imports,Standard,Module,Error"}, args...)...)
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "GOOS="+goos, "GOARCH=amd64", "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var pkgs []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		pkgs = append(pkgs, p)
	}
}
