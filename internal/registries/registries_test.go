package registries

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/geecache/geecache/geecache"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct{ url, kind, err string }{
		{"static:10.0.0.1:8001,a=10.0.0.2:8001", "static", ""},
		{"static:", "", "there are no members"},
		{"static:nonsense", "", "nonsense"},
		{"file:/etc/peers", "file", ""},
		{"file:///etc/peers", "file", ""},
		{"file:peers", "file", ""},
		{"file://host/peers", "", "names a host"},
		{"file:", "", "path is empty"},
		{"dns:cache.test:8001", "dns", ""},
		{"dns:cache.test?server=127.0.0.1:53&interval=1s", "dns", ""},
		{"dns+srv:_peers._tcp.cache.test", "dns", ""},
		{"dns+srv:cache.test:8001", "", "SRV records have ports"},
		{"dns:cache.test:http", "", "port of"},
		{"dns:cache.test?ttl=1s", "", "no parameter \"ttl\""},
		{"dns:", "", "Name is empty"},
		{"etcd://10.0.0.1:2379,10.0.0.2:2379/prefix?ttl=10s", "etcd", ""},
		{"etcd+https://user:secret@etcd.test:2379", "etcd", ""},
		{"etcd:10.0.0.1:2379", "", "use etcd://"},
		{"etcd://10.0.0.1:2379?ttl=soon", "", "ttl is \"soon\""},
		{"etcd://user@10.0.0.1:2379", "", "give both or none"},
		{"gossip:", "gossip", ""},
		{"gossip://10.0.0.1,cache.test:7946?listen=10.0.0.2:7946&advertise=10.0.0.2&interval=1s", "gossip", ""},
		{"gossip://10.0.0.1?listen=:port", "", "Listen is"},
		{"gossip://10.0.0.1?listen=0.0.0.0&advertise=node.test", "", "Advertise is"},
		{"gossip://10.0.0.1?join=10.0.0.2", "", "no parameter \"join\""},
		{"cloudmap://namespace/service?region=eu-central-1", "cloudmap", ""},
		{"cloudmap://namespace", "", "Service is empty"},
		{"ecs://cluster/service", "ecs", ""},
		{"ecs://cluster", "", "Service and Family are empty"},
		{"consul://10.0.0.1", "", "there is no registry \"consul:\""},
		{"10.0.0.1", "", "is no registry"},
	} {
		c, err := Parse(tt.url)
		switch {
		case tt.err == "" && (err != nil || c.Kind() != tt.kind):
			t.Errorf("Parse(%q) = %v, want %s", tt.url, err, tt.kind)
		case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
			t.Errorf("Parse(%q) = %v, want %q", tt.url, err, tt.err)
		case err != nil && strings.Contains(err.Error(), "secret"):
			t.Errorf("Parse(%q) tells the password: %v", tt.url, err)
		}
	}
}

// Each registry opens without its server: a node may start first.
func TestOpenWithoutServer(t *testing.T) {
	t.Setenv("AWS_REGION", "us-east-1")
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
	for _, k := range kinds() {
		url, _, _ := strings.Cut(k.usage, ", ")
		c, err := Parse(url)
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		r, err := c.Open(t.Context(), Options{Cluster: "c", Port: 8001, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		if r.Kind != k.name || r.Discoverer == nil {
			t.Errorf("%s: opened %+v", url, r)
		}
		if err := r.Close(); err != nil {
			t.Errorf("%s: Close: %v", url, err)
		}
	}
}

func TestRedact(t *testing.T) {
	for raw, want := range map[string]string{
		"etcd://user:secret@10.0.0.1:2379,10.0.0.2:2379/p?x=secret": "etcd://10.0.0.1:2379,10.0.0.2:2379/p",
		"cloudmap://n/s?endpoint=secret":                            "cloudmap://n/s",
		"static:a,b":                                                "static:a,b",
		"dns:name:80?server=x":                                      "dns:name:80",
	} {
		if got := Redact(raw); got != want {
			t.Errorf("Redact(%q) = %q, want %q", raw, got, want)
		}
	}
}

// metadata is what ECS tells a task.
func metadata(t *testing.T, task string) {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/task") {
			_, _ = io.WriteString(w, task)
			return
		}
		_, _ = io.WriteString(w, `{"Networks":[{"IPv4Addresses":["10.0.1.2"]}]}`)
	}))
	t.Cleanup(srv.Close)
	t.Setenv("ECS_CONTAINER_METADATA_URI_V4", srv.URL+"/v4/0123456789")
}

func TestDetect(t *testing.T) {
	const arn = `"TaskARN":"arn:aws:ecs:r:1:task/c/0123","AvailabilityZone":"r1a"`
	for _, tt := range []struct {
		name  string
		env   map[string]string
		task  string
		peers int
		want  string
	}{
		{name: "nothing", want: ""},
		{name: "peers", peers: 2, want: ""},
		{name: "etcd", env: map[string]string{"GEECACHE_ETCD": "h:2379/p"}, want: "etcd://h:2379/p"},
		{name: "etcd's own variable", env: map[string]string{"ETCDCTL_ENDPOINTS": "https://a:2379,https://b:2379"}, want: "etcd+https://a:2379,b:2379"},
		{name: "cloudmap", env: map[string]string{"GEECACHE_CLOUDMAP": "n/s"}, want: "cloudmap://n/s"},
		{name: "a URL", env: map[string]string{"GEECACHE_CLOUDMAP": "cloudmap://n/s"}, want: "cloudmap://n/s"},
		{name: "dns", env: map[string]string{"GEECACHE_DNS": "cache:8001"}, want: "dns:cache:8001"},
		{name: "service", task: `{"Cluster":"arn:aws:ecs:r:1:cluster/c","ServiceName":"s","Family":"f",` + arn + `}`, want: "ecs://c/s"},
		{name: "family", task: `{"Cluster":"c","Family":"f",` + arn + `}`, peers: 2, want: "ecs://c?family=f"},
		{name: "what is said goes before what is seen", env: map[string]string{"GEECACHE_DNS": "cache:8001"}, task: `{` + arn + `}`, want: "dns:cache:8001"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, name := range slices.Concat(Variables(), []string{"ETCDCTL_ENDPOINTS", "ECS_CONTAINER_METADATA_URI_V4"}) {
				t.Setenv(name, tt.env[name])
			}
			if tt.task != "" {
				metadata(t, tt.task)
			}
			got, why, err := Detect(t.Context(), tt.peers)
			if err != nil || got != tt.want || why == "" {
				t.Fatalf("Detect = %q, because %q, %v; want %q", got, why, err, tt.want)
			}
			if got == "" {
				return
			}
			c, err := Parse(got)
			if err != nil {
				t.Fatalf("Parse(%q): %v", got, err)
			}
			self, err := c.Self(t.Context())
			want := geecache.Peer{}
			if c.Kind() == "ecs" {
				want = geecache.Peer{ID: "0123", Addr: "10.0.1.2", Zone: "r1a"}
			}
			if err != nil || self != want {
				t.Errorf("Self = %+v, %v; want %+v", self, err, want)
			}
		})
	}
}

// Certificates do not reach the gossip: without a secret, it would be the one open door.
func TestGossipBesideCertificates(t *testing.T) {
	c, err := Parse("gossip:?listen=127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Cluster: "c", Verified: true, Logger: slog.New(slog.DiscardHandler)}
	if r, err := c.Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), "--secret-file") {
		t.Errorf("%v, %v", r, err)
	}
	o.Secrets = func() []string { return []string{"0123456789abcdef"} }
	r, err := c.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}
