package cloudmap

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/registry"
)

// A fake answers as Cloud Map does what no emulator does.
type fake struct {
	mu    sync.Mutex // guards what follows
	calls map[string]int
	body  map[string]string // by operation
}

// newFake returns a Registry of a fake whose answers are body: JSON, or an error's
// name after a "!".
func newFake(t *testing.T, body map[string]string) (*Registry, *fake) {
	t.Helper()
	noAWS(t)
	f := &fake{calls: map[string]int{}, body: body}
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	r := open(t, Config{Namespace: "n", Service: "s", Endpoint: srv.URL})
	t.Cleanup(func() { _ = r.Close() })
	return r, f
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, op, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	f.mu.Lock()
	f.calls[op]++
	body := f.body[op]
	f.mu.Unlock()
	if !strings.HasPrefix(r.Host, "127.0.0.1") {
		body = "!Host" + r.Host // an endpoint of one's own has no data- host
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	if name, fails := strings.CutPrefix(body, "!"); fails {
		w.WriteHeader(http.StatusBadRequest)
		body = fmt.Sprintf(`{"__type":%q,"message":"as the test wants it"}`, name)
	}
	_, _ = io.WriteString(w, body)
}

func (f *fake) called(op string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[op]
}

const oneInstance = `{"Instances":[{"InstanceId":"a","Attributes":{"AWS_INSTANCE_IPV4":"10.0.0.1","AWS_INSTANCE_PORT":"1"}}]}`

// The instances are read when the revision has changed, and else only as often as
// Refresh says.
func TestUnchangedRevisionReadsNothing(t *testing.T) {
	r, f := newFake(t, map[string]string{"DiscoverInstancesRevision": `{"InstancesRevision":1}`, "DiscoverInstances": oneInstance})
	r.cfg.Refresh = time.Hour
	look := func(reads int) {
		t.Helper()
		members, _, err := r.lookup(t.Context())
		if err != nil || len(members) != 1 || f.called("DiscoverInstances") != reads {
			t.Fatalf("lookup = %v, %v after %d reads; want one member after %d", members, err, f.called("DiscoverInstances"), reads)
		}
	}
	look(1)
	look(1)
	look(1)
	f.mu.Lock()
	f.body["DiscoverInstancesRevision"] = `{"InstancesRevision":2}`
	f.mu.Unlock()
	look(2)
	look(2)
	r.cfg.Refresh = 0
	look(3)
}

// Where the revision cannot be had, it is asked for once.
func TestWithoutRevision(t *testing.T) {
	for _, refusal := range []string{"UnknownOperationException", "AccessDeniedException"} {
		t.Run(refusal, func(t *testing.T) {
			r, f := newFake(t, map[string]string{"DiscoverInstancesRevision": "!" + refusal, "DiscoverInstances": oneInstance})
			for range 3 {
				if members, _, err := r.lookup(t.Context()); err != nil || len(members) != 1 {
					t.Fatalf("lookup = %v, %v", members, err)
				}
			}
			if f.called("DiscoverInstancesRevision") != 1 || f.called("DiscoverInstances") != 3 {
				t.Errorf("calls: %v", f.calls)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	for _, tt := range []struct{ refusal, want string }{
		{"AccessDeniedException", "permission servicediscovery:DiscoverInstances is missing"},
		{"ExpiredTokenException", "credentials have expired"},
		{"UnrecognizedClientException", "does not know the credentials"},
		{"NamespaceNotFound", `no namespace "n"`},
		{"ServiceNotFound", `no service "s"`},
	} {
		r, _ := newFake(t, map[string]string{"DiscoverInstancesRevision": `{"InstancesRevision":1}`, "DiscoverInstances": "!" + tt.refusal})
		if _, _, err := r.lookup(t.Context()); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.refusal, err, tt.want)
		}
	}
}

func TestThrottling(t *testing.T) {
	for _, op := range []string{"DiscoverInstancesRevision", "DiscoverInstances"} {
		for _, refusal := range []string{"RequestLimitExceeded", "ThrottlingException"} {
			body := map[string]string{"DiscoverInstancesRevision": `{"InstancesRevision":1}`, "DiscoverInstances": oneInstance}
			body[op] = "!" + refusal
			r, f := newFake(t, body)
			_, _, err := r.lookup(t.Context())
			if !errors.Is(err, registry.ErrThrottled) {
				t.Errorf("%s: %s: %v, want ErrThrottled", op, refusal, err)
			}
			if f.called(op) != 1 {
				t.Errorf("%s was called %d times: who is told to wait does not repeat at once", op, f.called(op))
			}
		}
	}
}

func TestNoCredentials(t *testing.T) {
	noAWS(t)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	r := open(t, Config{Namespace: "n", Service: "s", Region: "eu-central-1"})
	if _, _, err := r.lookup(t.Context()); err == nil || !strings.Contains(err.Error(), "no AWS credentials: give the task a role") {
		t.Errorf("lookup: %v, want what to do without credentials", err)
	}
}

// The answer has no further page: one that is full is told.
func TestFullAnswerWarns(t *testing.T) {
	var all []string
	for i := range maxInstances {
		all = append(all, fmt.Sprintf(`{"InstanceId":"n%d","Attributes":{"AWS_INSTANCE_IPV4":"10.0.%d.%d"}}`, i, i/250, i%250))
	}
	r, _ := newFake(t, map[string]string{
		"DiscoverInstancesRevision": `{"InstancesRevision":1}`, "DiscoverInstances": `{"Instances":[` + strings.Join(all, ",") + `]}`,
	})
	members, _, err := r.lookup(t.Context())
	if err != nil || len(members) != maxInstances || !r.warned {
		t.Errorf("%d members, %v, warned %v; want %d and a warning", len(members), err, r.warned, maxInstances)
	}
}

func TestValidate(t *testing.T) {
	for _, tt := range []struct{ url, want string }{
		{"cloudmap:///s", "Namespace is empty"},
		{"cloudmap://n", "Service is empty"},
		{"cloudmap://n/s?port=99999", "Port is 99999"},
		{"cloudmap://n/s?port=x", "port is \"x\""},
		{"cloudmap://n/s?interval=-1s", "Interval is -1s"},
		{"cloudmap://n/s?register=maybe", "Register is \"maybe\""},
		{"cloudmap://n/s?endpoint=here", "Endpoint is \"here\""},
		{"cloudmap://n/s?colour=red", "\"colour\" is no parameter"},
		{"dns:n", "no URL of Cloud Map"},
	} {
		if _, err := ParseURL(tt.url); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.url, err, tt.want)
		}
	}
	got, err := ParseURL("cloudmap://cache.local/nodes?region=eu-central-1&port=9000&register=false&interval=1s&refresh=5s&endpoint=http://127.0.0.1:4566")
	want := Config{
		Namespace: "cache.local", Service: "nodes", Region: "eu-central-1", Port: 9000, Register: RegisterNever,
		Interval: time.Second, Refresh: 5 * time.Second, Endpoint: "http://127.0.0.1:4566",
	}
	if err != nil || got != want {
		t.Errorf("ParseURL = %+v, %v; want %+v", got, err, want)
	}
}

// In a task that ECS registers, nothing is registered beside; in another one, the
// task is, under its ID.
func TestRegisterInTask(t *testing.T) {
	meta := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/task") {
			_, _ = io.WriteString(w, `{"Cluster":"c","TaskARN":"arn:aws:ecs:eu-central-1:1:task/c/0123456789","Family":"f","AvailabilityZone":"eu-central-1a"}`)
			return
		}
		_, _ = io.WriteString(w, `{"Networks":[{"NetworkMode":"awsvpc","IPv4Addresses":["10.0.1.2"]}]}`)
	}))
	defer meta.Close()
	body := map[string]string{
		"DiscoverInstances": `{"Instances":[{"InstanceId":"0123456789","Attributes":{"AWS_INSTANCE_IPV4":"10.0.1.2","ECS_SERVICE_NAME":"s"}}]}`,
		"ListNamespaces":    `{"Namespaces":[{"Id":"ns-1","Name":"n"}]}`, "ListServices": `{"Services":[{"Id":"srv-1","Name":"s"}]}`,
		"RegisterInstance": `{"OperationId":"op"}`, "GetOperation": `{"Operation":{"Id":"op","Status":"SUCCESS"}}`, "DeregisterInstance": `{"OperationId":"op2"}`,
	}
	r, f := newFake(t, body)
	t.Setenv("ECS_CONTAINER_METADATA_URI_V4", meta.URL+"/v4/token")
	self, err := Self(t.Context(), 8001)
	want := geecache.Peer{ID: "0123456789", Addr: "10.0.1.2:8001", Zone: "eu-central-1a"}
	if err != nil || self.Peer != want {
		t.Fatalf("Self = %+v, %v; want %+v", self, err, want)
	}
	if err := errors.Join(r.Register(t.Context(), self), r.Leave(t.Context())); err != nil {
		t.Fatal(err)
	}
	if f.called("RegisterInstance") != 0 || f.called("DeregisterInstance") != 0 {
		t.Errorf("calls: %v; ECS has registered the task", f.calls)
	}
	r.cfg.Register = RegisterAlways
	if err := errors.Join(r.Register(t.Context(), self), r.Leave(t.Context())); err != nil {
		t.Fatal(err)
	}
	if f.called("RegisterInstance") != 1 || f.called("DeregisterInstance") != 1 {
		t.Errorf("calls: %v; want one registration, taken back", f.calls)
	}
}
