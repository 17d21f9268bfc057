package cli

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/internal/node"
)

func testDoctor(f *doctorFlags) *doctor {
	if f.timeout == 0 {
		f.timeout = time.Second
	}
	if f.maxSkew == 0 {
		f.maxSkew = time.Second
	}
	return &doctor{doctorFlags: f, cluster: "geecache", trusted: new(trusted), about: make(map[string]int)}
}

func TestAdminDoors(t *testing.T) {
	doors, err := parseAdminDoors([]string{"8081", "b=10.0.0.2:9000", ":8082"})
	if err != nil {
		t.Fatal(err)
	}
	d := testDoctor(new(doctorFlags))
	d.doors, d.self = doors, "self"
	d.doors.own("0.0.0.0:8083")
	for _, c := range []struct {
		t    target
		want string
	}{
		{target{id: "a", addr: "10.0.0.1:8001"}, "10.0.0.1:8001 10.0.0.1:8081 10.0.0.1:8082 10.0.0.1:8083"},
		{target{id: "b", addr: "grpc://10.0.0.2:8001"}, "10.0.0.2:8001 10.0.0.2:9000"},
		{target{id: "self", addr: "10.0.0.3:8001"}, "10.0.0.3:8001 127.0.0.1:8083 10.0.0.3:8081 10.0.0.3:8082 10.0.0.3:8083"},
		{target{id: "a", addr: "10.0.0.1:8001", door: "h:1"}, "h:1"},
	} {
		if got := d.doorsOf(&c.t); !reflect.DeepEqual(got, strings.Fields(c.want)) {
			t.Errorf("%+v: %v, want %s", c.t, got, c.want)
		}
	}
	for _, bad := range []string{"", "0", "70000", "host:1", "a=8081", "a=h:x"} {
		if _, err := parseAdminDoors([]string{bad}); err == nil || !strings.Contains(err.Error(), "--admin") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// Of a node that does not tell of itself, the clock is known by the head of any
// answer.
func TestDoctorReadsTheClockOfAPort(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(time.Minute).UTC().Format(http.TimeFormat))
	}))
	defer server.Close()
	d := testDoctor(new(doctorFlags))
	p := &patient{target: target{id: "a", addr: server.Listener.Addr().String()}}
	if f := d.knock(t.Context(), p); f != nil {
		t.Fatal(f)
	}
	right := &patient{target: target{id: "b"}, clock: true}
	d.examineClocks([]*patient{p, right, {target: target{id: "c"}, clock: true}})
	if len(d.findings) != 1 || d.findings[0].Status != findFault || d.findings[0].Subject != "a" || !strings.Contains(d.findings[0].Text, "ahead") {
		t.Errorf("%+v", d.findings)
	}
}

func TestDoctorTellsOfLateViews(t *testing.T) {
	for age, want := range map[float64]string{1: findOK, 14: findUnknown, 31: findFault} {
		d := testDoctor(new(doctorFlags))
		s := new(fullStatus)
		s.Role, s.Registry = geecache.RoleNode, &node.RegistryStatus{Kind: "etcd", URL: "etcd://h", Registered: true, AgeSeconds: age}
		got := d.lookAtRegistry([]*patient{{status: s}})
		if len(got) != 1 || got[0].Status != want || got[0].Text == "" {
			t.Errorf("a view of %v s: %+v, want %s", age, got, want)
		}
	}
}

// A handshake that does not come about says what has happened.
func TestDoctorSaysWhyNobodyShookHands(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done() // it never answers
	}))
	defer server.Close()
	d := testDoctor(&doctorFlags{timeout: 50 * time.Millisecond})
	addr := server.Listener.Addr().String()
	f := d.shakeHands(t.Context(), &patient{target: target{id: "a", addr: addr}})
	if f == nil || f.Status != findFault || !strings.Contains(f.Text, addr) {
		t.Errorf("%+v", f)
	}
	server.CloseClientConnections()
}

func TestAsGuest(t *testing.T) {
	for _, c := range []struct {
		raw, seeds string
		others     bool
	}{
		{"gossip:", "127.0.0.1:7946", false},
		{"gossip:?listen=127.0.0.1:7000", "127.0.0.1:7000", false},
		{"gossip://127.0.0.1:7000?listen=127.0.0.1:7000", "127.0.0.1:7000,127.0.0.1:7000", false},
		{"gossip://10.0.0.1:7946,10.0.0.2:7946?listen=10.0.0.2", "10.0.0.1:7946,10.0.0.2:7946,10.0.0.2:7946", true},
	} {
		guest, seeds, others, err := asGuest(c.raw, "127.0.0.1:8001")
		if err != nil || seeds != c.seeds || others != c.others || !strings.HasPrefix(guest, "gossip://"+seeds+"?listen=") || !strings.HasSuffix(guest, "%3A0") {
			t.Errorf("%s: %s, %s, %v, %v", c.raw, guest, seeds, others, err)
		}
	}
}

// The same file is the same fault, whichever way the doctor begins.
func TestDoctorWithCredentialsOfNoUse(t *testing.T) {
	short := filepath.Join(t.TempDir(), "short")
	if err := os.WriteFile(short, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{short, short + "-missing"} {
		for _, flag := range []string{"--secret-file", "--tls-ca", "--api-token-file"} {
			for _, begin := range []string{"--addr=127.0.0.1:1", "--listen=127.0.0.1:1"} {
				if flag == "--tls-ca" && strings.HasPrefix(begin, "--listen") {
					flag = "--admin-token-file" // a node has no --tls-ca by itself
				}
				out, errOut, status := run(t, "doctor", begin, flag, file)
				if status != 1 || !strings.Contains(out, "credentials") {
					t.Errorf("%s %s %s: status %d, %s%s", begin, flag, file, status, out, errOut)
				}
			}
		}
	}
	for _, args := range [][]string{{"--admin", "x"}, {"--addr", "127.0.0.1:1", "--tls-cert", short}, {"--timeout", "0s"}} {
		if out, _, status := run(t, append([]string{"doctor"}, args...)...); status != 2 || out != "" {
			t.Errorf("%v: status %d, %s", args, status, out)
		}
	}
}
