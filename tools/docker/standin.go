//go:build unix

package docker

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// A standIn takes the place of an image of a repository, whatever its tag. It holds what
// this project uses of the real one, so that Dockerfiles and compose files work as
// they are; that the real image works too is not shown by it.
type standIn struct {
	repository string
	// what says what it is made of, with versions. tag is the tag that is asked for.
	what   func(ctx context.Context, e *Engine, tag string) (string, error)
	config []string // instructions of a Dockerfile
	fill   func(ctx context.Context, r *rootfs)
}

// The users of the real images.
const (
	nobody   = 65534
	nonroot  = 65532
	postgres = 999
)

func standIns() []standIn {
	return []standIn{
		{
			repository: "golang",
			what:       whatGo,
			config:     []string{"ENV PATH=/go/bin:/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "ENV GOPATH=/go", "ENV GOTOOLCHAIN=local", "WORKDIR /go"},
			fill:       fillGo,
		},
		{
			repository: "gcr.io/distroless/static-debian12",
			what:       fixed("passwd and this machine's CA certificates"),
			config:     []string{"ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt", "USER 65532", "WORKDIR /home/nonroot"},
			fill:       fillDistroless,
		},
		{
			repository: "prom/prometheus",
			what:       version("prometheus", "--version"),
			config: []string{
				"USER nobody", "WORKDIR /prometheus", "EXPOSE 9090", `ENTRYPOINT ["/bin/prometheus"]`,
				`CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]`,
			},
			fill: fillPrometheus,
		},
		{
			repository: "postgres",
			what:       whatPostgres,
			config: []string{
				"ENV PATH=/usr/local/bin:/usr/lib/postgresql/bin:/usr/bin:/bin", "ENV PGDATA=/var/lib/postgresql/data", "EXPOSE 5432",
				`ENTRYPOINT ["docker-entrypoint.sh"]`, `CMD ["postgres"]`,
			},
			fill: fillPostgres,
		},
		{
			repository: "quay.io/coreos/etcd",
			what:       version("etcd", "--version"),
			config:     []string{"ENV PATH=/usr/local/bin:/usr/bin:/bin", "EXPOSE 2379 2380", `CMD ["/usr/local/bin/etcd"]`},
			fill:       fillEtcd,
		},
		{
			repository: "ministackorg/ministack",
			what:       whatMiniStack,
			config: []string{
				"ENV PATH=/usr/local/bin:/usr/bin:/bin", "ENV PYTHONHOME=/usr/local", "ENV PYTHONPATH=/app", "EXPOSE 4566",
				`ENTRYPOINT ["/usr/local/bin/python3", "-m", "ministack"]`,
			},
			fill: fillMiniStack,
		},
	}
}

// fixed says always the same.
func fixed(what string) func(context.Context, *Engine, string) (string, error) {
	return func(context.Context, *Engine, string) (string, error) { return what, nil }
}

// version says what a program of this machine says of its version.
func version(program string, args ...string) func(context.Context, *Engine, string) (string, error) {
	return func(ctx context.Context, e *Engine, _ string) (string, error) {
		out, err := e.output(ctx, nil, ".", program, args...)
		if err != nil {
			return "", fmt.Errorf("a stand-in is made of this machine's %s: run scripts/install-deps: %w", program, err)
		}
		line, _, _ := strings.Cut(out, "\n")
		return "this machine's " + strings.ReplaceAll(line, `"`, ""), nil
	}
}

func whatGo(ctx context.Context, e *Engine, tag string) (string, error) {
	out, err := e.output(ctx, nil, ".", "go", "env", "GOVERSION")
	if err != nil {
		return "", err
	}
	have := strings.TrimSpace(out)
	want, _, _ := strings.Cut(tag, "-")
	if !strings.HasPrefix(have+".", "go"+want+".") {
		return "", fmt.Errorf("this machine has %s, and the image is of Go %s: install that, or let the engine reach a registry", have, want)
	}
	return "this machine's " + have + " and a shell", nil
}

// users writes the files that name users, and what every system has.
func users(r *rootfs, more ...string) {
	r.dir("etc", 0o755, 0)
	passwd := append([]string{"root:x:0:0:root:/root:/sbin/nologin", "nobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin"}, more...)
	r.file("etc/passwd", 0o644, strings.Join(passwd, "\n")+"\n")
	groups := []string{"root:x:0:"}
	for _, line := range passwd[1:] {
		f := strings.Split(line, ":")
		groups = append(groups, f[0]+":x:"+f[3]+":")
	}
	r.file("etc/group", 0o644, strings.Join(groups, "\n")+"\n")
	r.file("etc/nsswitch.conf", 0o644, "hosts: files dns\n")
	r.dir("root", 0o700, 0)
	r.dir("tmp", 0o1777, 0)
}

// certificates writes the authorities that this machine trusts.
func certificates(r *rootfs) {
	r.copy("/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/certs/ca-certificates.crt")
}

func fillGo(ctx context.Context, r *rootfs) {
	users(r)
	certificates(r)
	goroot, err := r.e.output(ctx, nil, ".", "go", "env", "GOROOT")
	if err != nil {
		r.err = err
		return
	}
	r.tree(strings.TrimSpace(goroot), "/usr/local/go", "test", "doc", "api")
	r.dir("go", 0o777, 0)
	r.program(ctx, "/bin/sh", "/bin/sh")
}

func fillDistroless(_ context.Context, r *rootfs) {
	users(r, "nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin")
	certificates(r)
	r.dir("home", 0o755, 0)
	r.dir("home/nonroot", 0o700, nonroot)
}

func fillPrometheus(ctx context.Context, r *rootfs) {
	users(r)
	certificates(r)
	for _, name := range []string{"prometheus", "promtool"} {
		program, err := r.e.look(name)
		if err != nil {
			r.err = fmt.Errorf("%w: run scripts/install-deps", err)
			return
		}
		r.program(ctx, program, "/bin/"+name)
	}
	r.dir("etc/prometheus", 0o755, nobody)
	r.dir("prometheus", 0o755, nobody)
}

// postgresDirs returns where Debian has the programs and the other files of the newest
// PostgreSQL of this machine.
func postgresDirs() (bin, lib, share string, err error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return "", "", "", errors.New("a stand-in is made of this machine's PostgreSQL, and there is none: run scripts/install-deps")
	}
	bin = filepath.Dir(found[len(found)-1])
	version := filepath.Dir(bin)
	return bin, filepath.Join(version, "lib"), filepath.Join("/usr/share/postgresql", filepath.Base(version)), nil
}

func whatPostgres(ctx context.Context, e *Engine, tag string) (string, error) {
	bin, _, _, err := postgresDirs()
	if err != nil {
		return "", err
	}
	return version(filepath.Join(bin, "postgres"), "--version")(ctx, e, tag)
}

// postgresEntrypoint does what of the real image's entry point is used here.
const postgresEntrypoint = `#!/bin/sh
set -e
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  export PGUSER="$POSTGRES_USER" PGPASSWORD="$POSTGRES_PASSWORD"
  echo "$POSTGRES_PASSWORD" >/tmp/password
  initdb --username="$POSTGRES_USER" --pwfile=/tmp/password -E UTF8 --locale=C $POSTGRES_INITDB_ARGS
  : >/tmp/password
  echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
  pg_ctl -o "-c listen_addresses=''" -w start
  createdb "$POSTGRES_USER"
  for f in /docker-entrypoint-initdb.d/*.sql; do psql -v ON_ERROR_STOP=1 -f "$f"; done
  pg_ctl -m fast -w stop
fi
unset POSTGRES_PASSWORD
exec "$@" -c listen_addresses='*'
`

func fillPostgres(ctx context.Context, r *rootfs) {
	users(r, "postgres:x:999:999:postgres:/var/lib/postgresql:/bin/sh")
	bin, lib, share, err := postgresDirs()
	if err != nil {
		r.err = err
		return
	}
	for _, name := range []string{"postgres", "initdb", "pg_ctl", "pg_isready", "psql", "createdb"} {
		r.program(ctx, filepath.Join(bin, name), filepath.Join(bin, name))
	}
	r.link("usr/lib/postgresql/bin", bin)
	r.tree(lib, lib, "bitcode")
	r.tree(share, share, "man")
	r.tree("/usr/share/zoneinfo", "/usr/share/zoneinfo")
	for _, name := range []string{"sh", "sed"} {
		r.program(ctx, "/bin/"+name, "/bin/"+name)
	}
	r.file("usr/local/bin/docker-entrypoint.sh", 0o755, postgresEntrypoint)
	r.dir("docker-entrypoint-initdb.d", 0o755, 0)
	r.dir("var/run/postgresql", 0o1777, postgres)
	r.dir("var/lib/postgresql", 0o755, postgres)
	r.dir("var/lib/postgresql/data", 0o700, postgres)
}

func fillEtcd(ctx context.Context, r *rootfs) {
	users(r)
	certificates(r)
	for _, name := range []string{"etcd", "etcdctl"} {
		program, err := r.e.look(name)
		if err != nil {
			r.err = fmt.Errorf("%w: run scripts/install-deps", err)
			return
		}
		r.program(ctx, program, "/usr/local/bin/"+name)
	}
	r.dir("var/lib/etcd", 0o700, 0)
}
