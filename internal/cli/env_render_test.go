//go:build unix

package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/geecache/geecache/internal/envbench"
)

const described = `
name: shop
image: geecache:1.2
nodes: 4
cache: 64MiB
ttl: 1h
source: {query: 'select "it''s", $1 from t where k = $1, ` + "`x` " + `'}
snapshot: {url: 's3://bucket/prefix?region=eu-central-1'}
secrets: {GEECACHE_SOURCE: 'env:DATABASE_URL', PGPASSWORD: 'file:/run/a b,c/d'}
variables: {X: 'a=b,c="d" e', GEECACHE_LOG_LEVEL: warn}
emulator: {registry: ecs, region: eu-central-1, port: 4567}
`

// What is written for an emulator, read by a shell, and the file itself say the same.
func TestEmulatorParametersRoundTrip(t *testing.T) {
	for name, text := range map[string]string{"much": described, "little": "nodes: 2\n", "one variable": "variables: {X: 'a=b'}\nsecrets: {Y: 'env:Y'}\n"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "geecache.yaml")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := readEnvFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := renderEnv(t.Output(), path, dir, false); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("sh", "-ec", `set -a; . ./emulator.env; exec env -0`)
			cmd.Dir, cmd.Env = dir, []string{"PATH=" + os.Getenv("PATH")}
			out, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			want := f.Deployment(envbench.Emulator).WithDefaults()
			sourced, read := upFlags(t, strings.Split(string(out), "\x00"), ""), upFlags(t, nil, path)
			for how, got := range map[string]*envUpFlags{"the shell's variables": sourced, "--file": read} {
				d := got.deployment
				for _, m := range []*map[string]string{&d.Variables, &d.Secrets} {
					if *m == nil {
						*m = map[string]string{}
					}
				}
				if !reflect.DeepEqual(d, want) {
					t.Errorf("by %s it is\n%+v, want\n%+v", how, d, want)
				}
			}
			if sourced.options.Endpoint != read.options.Endpoint || sourced.options.Region != read.options.Region {
				t.Errorf("emulators are %+v by the shell, and %+v by --file", sourced.options, read.options)
			}
		})
	}
}

// upFlags reads the flags of `geecache env up emulator` from variables and a file.
func upFlags(t *testing.T, environ []string, file string) *envUpFlags {
	t.Helper()
	var f envUpFlags
	cmd := &cobra.Command{}
	f.register(cmd, true)
	f.registerDeployment(cmd.Flags())
	f.file = file
	if _, err := setFromEnv(cmd.Flags(), envVariables(environ)); err != nil {
		t.Fatal(err)
	}
	if err := f.fromFile(cmd.Flags(), envbench.Emulator); err != nil {
		t.Fatal(err)
	}
	f.complete(envbench.Emulator)
	return &f
}

func TestFlagsWinOverTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "geecache.yaml")
	if err := os.WriteFile(path, []byte(described), 0o600); err != nil {
		t.Fatal(err)
	}
	d := upFlags(t, []string{
		"GEECACHE_ENV_NODES=9", "GEECACHE_ENV_NAME=other", "GEECACHE_ENV_VAR=GEECACHE_LOG_LEVEL=debug", "GEECACHE_ENV_SECRET=PGPASSWORD=env:PW",
	}, path).deployment
	if d.Nodes != 9 || d.Name != "other" || d.Image != "geecache:1.2" || d.Variables["GEECACHE_LOG_LEVEL"] != "debug" || d.Variables["X"] == "" ||
		d.Secrets["PGPASSWORD"] != "env:PW" || d.Secrets["GEECACHE_SOURCE"] != "env:DATABASE_URL" {
		t.Errorf("it is %+v", d)
	}
}
