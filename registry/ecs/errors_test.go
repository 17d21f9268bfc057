package ecs

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/geecache/geecache/registry"
)

// newFake returns a Registry of a server whose answers are body: JSON, or an error's
// name after a "!".
func newFake(t *testing.T, body map[string]string) *Registry {
	t.Helper()
	noAWS(t)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, op, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		answer := body[op]
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		if name, fails := strings.CutPrefix(answer, "!"); fails {
			w.WriteHeader(http.StatusBadRequest)
			answer = fmt.Sprintf(`{"__type":%q,"message":"as the test wants it"}`, name)
		}
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(srv.Close)
	r := open(t, Config{Cluster: "c", Service: "s", Endpoint: srv.URL, Port: 7000})
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func TestRefusals(t *testing.T) {
	for _, tt := range []struct{ op, refusal, want string }{
		{"ListTasks", "AccessDeniedException", "permission ecs:ListTasks is missing"},
		{"DescribeTasks", "AccessDeniedException", "permission ecs:DescribeTasks is missing"},
		{"ListTasks", "ExpiredTokenException", "credentials have expired"},
		{"DescribeTasks", "UnrecognizedClientException", "does not know the credentials"},
		{"ListTasks", "ClusterNotFoundException", `no ECS cluster "c"`},
		{"ListTasks", "ServiceNotFoundException", `"c" has no service "s"`},
	} {
		body := map[string]string{"ListTasks": `{"taskArns":["arn:aws:ecs:r:1:task/c/a"]}`}
		body[tt.op] = "!" + tt.refusal
		if _, _, err := newFake(t, body).lookup(t.Context()); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %s: %v, want %q", tt.op, tt.refusal, err, tt.want)
		}
	}
}

func TestThrottling(t *testing.T) {
	r := newFake(t, map[string]string{"ListTasks": "!ThrottlingException"})
	if _, _, err := r.lookup(t.Context()); !errors.Is(err, registry.ErrThrottled) {
		t.Errorf("lookup: %v, want ErrThrottled", err)
	}
}

// Only tasks that run and are to are members; the address is that of the network
// interface, wherever it is told.
func TestWhichTasksServe(t *testing.T) {
	task := func(id, last, desired, rest string) string {
		return fmt.Sprintf(`{"taskArn":"arn:aws:ecs:r:1:task/c/%s","lastStatus":%q,"desiredStatus":%q%s}`, id, last, desired, rest)
	}
	eni := func(ip string) string {
		return `,"attachments":[{"type":"ElasticNetworkInterface","details":[{"name":"macAddress","value":"02"},{"name":"privateIPv4Address","value":"` + ip + `"}]}]`
	}
	tasks := strings.Join([]string{
		task("pending", "PENDING", "RUNNING", eni("10.0.0.1")),
		task("ending", "RUNNING", "STOPPED", eni("10.0.0.2")),
		task("stopping", "RUNNING", "RUNNING", `,"stoppingAt":1.5`+eni("10.0.0.3")),
		task("attached", "RUNNING", "RUNNING", eni("10.0.0.4")+`,"availabilityZone":"r1a"`),
		task("container", "RUNNING", "RUNNING", `,"containers":[{"networkInterfaces":[{"privateIpv4Address":"10.0.0.5"}]}]`),
		task("runtime", "RUNNING", "RUNNING", `,"containers":[{"runtimeId":"0123456789abcdef0123"}]`),
		task("nowhere", "RUNNING", "RUNNING", ""),
	}, ",")
	r := newFake(t, map[string]string{"ListTasks": `{"taskArns":["a"]}`, "DescribeTasks": `{"tasks":[` + tasks + `],"failures":[{"arn":"b","reason":"MISSING"}]}`})
	members, _, err := r.lookup(t.Context())
	var got []string
	for _, m := range members {
		got = append(got, m.ID+"="+m.Addr+"@"+m.Zone)
	}
	const want = "attached=10.0.0.4:7000@r1a container=10.0.0.5:7000@ runtime=0123456789ab:7000@"
	if strings.Join(got, " ") != want || err != nil {
		t.Errorf("members are %v, %v; want %s", got, err, want)
	}
	if len(r.warned) != 1 {
		t.Errorf("warned of %v, want the task without an address", r.warned)
	}
	// At AWS, no name leads to a container.
	r.emulator = false
	if members, _, err = r.lookup(t.Context()); len(members) != 2 || err != nil {
		t.Errorf("members are %v, %v; want the two with an address", members, err)
	}
}

func TestValidate(t *testing.T) {
	for _, tt := range []struct{ url, want string }{
		{"ecs://c", "Service and Family are empty"},
		{"ecs://c/s?family=f", "give one of them"},
		{"ecs://c/s?port=-1", "Port is -1"},
		{"ecs://c/s?interval=x", `interval is "x"`},
		{"ecs://c/s?endpoint=x", `Endpoint is "x"`},
		{"ecs://c/s?register=true", "is no parameter"},
		{"eks://c/s", "no URL of ECS"},
	} {
		if _, err := ParseURL(tt.url); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.url, err, tt.want)
		}
	}
	got, err := ParseURL("ecs://c?family=f&port=9000&region=r&interval=5s&endpoint=http://h:1")
	want := Config{Cluster: "c", Family: "f", Port: 9000, Region: "r", Interval: 5 * time.Second, Endpoint: "http://h:1"}
	if err != nil || got != want {
		t.Errorf("ParseURL = %+v, %v; want %+v", got, err, want)
	}
}
