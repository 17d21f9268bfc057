package cloudmap

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/registry"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"
)

// emulators runs a test against each emulator of AWS.
func emulators(t *testing.T, test func(t *testing.T, endpoint string)) {
	noAWS(t)
	for _, e := range []struct{ name, variable string }{
		{"MiniStack", "GEECACHE_TEST_MINISTACK"}, {"moto", "GEECACHE_TEST_MOTO"},
	} {
		t.Run(e.name, func(t *testing.T) { test(t, server(t, e.variable)) })
	}
}

// server returns the address of a real server, without which the test is skipped,
// or fails where the servers are required.
func server(t *testing.T, variable string) string {
	t.Helper()
	if value := os.Getenv(variable); value != "" {
		return value
	}
	const remedy = `%s is not set; run eval "$(scripts/test-servers up)"`
	if os.Getenv("CI") != "" || os.Getenv("GEECACHE_TEST_SERVERS") == "1" {
		t.Fatalf(remedy, variable)
	}
	t.Skipf(remedy, variable)
	return ""
}

// noAWS keeps what is on the machine out of the tests.
func noAWS(t *testing.T) {
	t.Helper()
	for _, name := range []string{
		"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION",
		"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SERVICEDISCOVERY", "ECS_CONTAINER_METADATA_URI_V4",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
	} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
}

func open(t testing.TB, cfg Config) *Registry {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	r, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A service is one of a test's own, at an emulator.
type service struct {
	Config
	client *servicediscovery.Client
	id     string
}

// newService makes an empty service in a namespace of its own.
func newService(t testing.TB, endpoint string) service {
	t.Helper()
	s := service{Config: Config{
		Namespace: fmt.Sprintf("test-%d", time.Now().UnixNano()), Service: "cache", Endpoint: endpoint,
		Interval: 20 * time.Millisecond, Refresh: 100 * time.Millisecond,
	}}
	s.client = open(t, s.Config).client
	ctx := t.Context()
	made, err := s.client.CreateHttpNamespace(ctx, &servicediscovery.CreateHttpNamespaceInput{Name: &s.Namespace})
	if err != nil {
		t.Fatal(err)
	}
	op := s.await(t, aws.ToString(made.OperationId))
	svc, err := s.client.CreateService(ctx, &servicediscovery.CreateServiceInput{
		Name: &s.Service, NamespaceId: aws.String(op.Targets["NAMESPACE"]),
		HealthCheckCustomConfig: &types.HealthCheckCustomConfig{},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.id = aws.ToString(svc.Service.Id)
	return s
}

// await returns an operation once it has succeeded.
func (s service) await(t testing.TB, id string) *types.Operation {
	t.Helper()
	for range time.Tick(10 * time.Millisecond) {
		out, err := s.client.GetOperation(t.Context(), &servicediscovery.GetOperationInput{OperationId: &id})
		if err != nil {
			t.Fatal(err)
		}
		switch out.Operation.Status {
		case types.OperationStatusSuccess:
			return out.Operation
		case types.OperationStatusFail:
			t.Fatalf("operation failed: %s", aws.ToString(out.Operation.ErrorMessage))
		}
	}
	return nil
}

// put registers an instance as somebody else does.
func (s service) put(t *testing.T, id string, attributes map[string]string) {
	t.Helper()
	out, err := s.client.RegisterInstance(t.Context(), &servicediscovery.RegisterInstanceInput{
		ServiceId: &s.id, InstanceId: &id, Attributes: attributes,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.await(t, aws.ToString(out.OperationId))
}

// waitFor returns the first members that ok accepts.
func waitFor(t *testing.T, r *Registry, what string, ok func([]registry.Member) bool) []registry.Member {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var last any
	for members, err := range r.Watch(ctx) {
		if last = members; err != nil {
			last = err
		} else if ok(members) {
			return members
		}
	}
	t.Fatalf("%s: not seen; the last answer was %v", what, last)
	return nil
}

func ids(members []registry.Member) []string {
	var all []string
	for _, m := range members {
		all = append(all, m.ID)
	}
	slices.Sort(all)
	return all
}

func sees(want ...string) func([]registry.Member) bool {
	return func(members []registry.Member) bool { return slices.Equal(ids(members), want) }
}

func TestRegisterWatchLeave(t *testing.T) {
	emulators(t, func(t *testing.T, endpoint string) {
		s := newService(t, endpoint)
		a, b := open(t, s.Config), open(t, s.Config)
		waitFor(t, a, "an empty service", sees())
		self := registry.Member{
			Peer:     geecache.Peer{ID: "one", Addr: "10.0.0.1:8001", Zone: "eu-central-1a", Weight: 1.5, Role: geecache.RoleNode},
			Metadata: map[string]string{"version": "1.2.3"},
		}
		if err := a.Register(t.Context(), self); err != nil {
			t.Fatal(err)
		}
		got := waitFor(t, b, "the first node", sees("one"))[0]
		if got.Peer != self.Peer || got.Metadata["version"] != "1.2.3" || len(got.Metadata) != 1 {
			t.Errorf("member = %+v, want %+v", got, self)
		}
		// What Cloud Map does not take as an ID is told beside it.
		odd := registry.Member{Peer: geecache.Peer{ID: "a node, " + strings.Repeat("long ", 20), Addr: "[fd00::2]:9001"}}
		if err := b.Register(t.Context(), odd); err != nil {
			t.Fatal(err)
		}
		members := waitFor(t, a, "both nodes", sees(odd.ID, "one"))
		i := slices.IndexFunc(members, func(m registry.Member) bool { return m.ID == odd.ID })
		if members[i].Peer != odd.Peer {
			t.Errorf("member = %+v, want %+v", members[i].Peer, odd.Peer)
		}
		self.Weight = 3
		if err := a.Register(t.Context(), self); err != nil {
			t.Fatal(err)
		}
		waitFor(t, b, "the new weight", func(all []registry.Member) bool {
			return slices.ContainsFunc(all, func(m registry.Member) bool { return m.Weight == 3 })
		})
		if err := a.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		waitFor(t, b, "that one has left", sees(odd.ID))
		if err := a.Leave(t.Context()); err != nil {
			t.Errorf("leaving twice: %v", err)
		}
		if err := b.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		waitFor(t, a, "that both have left", sees())
	})
}

// ECS registers tasks in its own way: without a port where there is no SRV record.
func TestInstancesOfECS(t *testing.T) {
	emulators(t, func(t *testing.T, endpoint string) {
		s := newService(t, endpoint)
		s.Port = 9000
		s.put(t, "0123456789abcdef", map[string]string{
			"AWS_INSTANCE_IPV4": "10.0.1.5", "AVAILABILITY_ZONE": "eu-central-1b", "ECS_CLUSTER_NAME": "c", "ECS_SERVICE_NAME": "s",
		})
		s.put(t, "no-address", map[string]string{"ECS_CLUSTER_NAME": "c"})
		got := waitFor(t, open(t, s.Config), "the task", sees("0123456789abcdef"))[0]
		want := geecache.Peer{ID: "0123456789abcdef", Addr: "10.0.1.5:9000", Zone: "eu-central-1b"}
		if got.Peer != want || got.Metadata["ECS_SERVICE_NAME"] != "s" {
			t.Errorf("member = %+v, want %+v", got, want)
		}
	})
}

// A node whose health check fails is left out; if all of them do, none is.
func TestHealthyOrElseAll(t *testing.T) {
	emulators(t, func(t *testing.T, endpoint string) {
		s := newService(t, endpoint)
		for _, id := range []string{"a", "b"} {
			s.put(t, id, map[string]string{"AWS_INSTANCE_IPV4": "10.0.0.1", "AWS_INSTANCE_PORT": "80"})
		}
		r := open(t, s.Config)
		waitFor(t, r, "both", sees("a", "b"))
		fail := func(id string) {
			_, err := s.client.UpdateInstanceCustomHealthStatus(t.Context(), &servicediscovery.UpdateInstanceCustomHealthStatusInput{
				ServiceId: &s.id, InstanceId: &id, Status: types.CustomHealthStatusUnhealthy,
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		fail("a")
		waitFor(t, r, "the healthy one", sees("b"))
		fail("b")
		waitFor(t, r, "all, since none is healthy", sees("a", "b"))
	})
}

func TestMissingNames(t *testing.T) {
	emulators(t, func(t *testing.T, endpoint string) {
		s := newService(t, endpoint)
		for _, tt := range []struct {
			change func(*Config)
			want   string
		}{
			{func(c *Config) { c.Namespace = "absent" }, `no namespace "absent"`},
			{func(c *Config) { c.Service = "absent" }, `has no service "absent"`},
		} {
			cfg := s.Config
			tt.change(&cfg)
			r := open(t, cfg)
			for _, err := range r.Watch(t.Context()) {
				if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "create it") {
					t.Errorf("Watch: %v, want %q and a remedy", err, tt.want)
				}
				break
			}
			err := r.Register(t.Context(), registry.Member{Peer: geecache.Peer{ID: "a", Addr: "10.0.0.1:1"}})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Register: %v, want %q", err, tt.want)
			}
		}
	})
}

// An instance that somebody takes out comes back.
func TestLostInstanceIsRegisteredAgain(t *testing.T) {
	emulators(t, func(t *testing.T, endpoint string) {
		s := newService(t, endpoint)
		r := open(t, s.Config)
		if err := r.Register(t.Context(), registry.Member{Peer: geecache.Peer{ID: "a", Addr: "10.0.0.1:1"}}); err != nil {
			t.Fatal(err)
		}
		waitFor(t, r, "the node", sees("a"))
		if _, err := s.client.DeregisterInstance(t.Context(), &servicediscovery.DeregisterInstanceInput{ServiceId: &s.id, InstanceId: aws.String("a")}); err != nil {
			t.Fatal(err)
		}
		waitFor(t, r, "that it is gone", sees())
		r.self.mu.Lock()
		r.self.since = r.self.since.Add(-settled)
		r.self.mu.Unlock()
		waitFor(t, r, "the node again", sees("a"))
		if err := r.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// BenchmarkLookup is a lookup in the background: what a node does every two seconds.
// "unchanged" asks for the revision only, "all" reads ten instances.
func BenchmarkLookup(b *testing.B) {
	for _, e := range []struct{ name, variable string }{
		{"MiniStack", "GEECACHE_TEST_MINISTACK"}, {"moto", "GEECACHE_TEST_MOTO"},
	} {
		endpoint := os.Getenv(e.variable)
		if endpoint == "" {
			b.Skipf("%s is not set", e.variable)
		}
		for _, mode := range []string{"unchanged", "all"} {
			b.Run(e.name+"/"+mode, func(b *testing.B) { benchmarkLookup(b, endpoint, mode == "all") })
		}
	}
}

func benchmarkLookup(b *testing.B, endpoint string, all bool) {
	s := newService(b, endpoint)
	for i := range 10 {
		_, err := s.client.RegisterInstance(b.Context(), &servicediscovery.RegisterInstanceInput{
			ServiceId: &s.id, InstanceId: aws.String(fmt.Sprint("node-", i)),
			Attributes: map[string]string{"AWS_INSTANCE_IPV4": fmt.Sprintf("10.0.0.%d", i), "AWS_INSTANCE_PORT": "8001"},
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	cfg := s.Config
	cfg.Refresh = time.Hour
	r := open(b, cfg)
	var took []time.Duration
	for b.Loop() {
		if all {
			r.mu.Lock()
			r.last = snapshot{}
			r.mu.Unlock()
		}
		start := time.Now()
		members, _, err := r.lookup(b.Context())
		took = append(took, time.Since(start))
		if err != nil || len(members) != 10 {
			b.Fatalf("%d members, %v", len(members), err)
		}
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}
