package envbench

import (
	"strings"
	"testing"
)

// member returns a node that answers, with the ring that it has.
func member(id, epoch string, ring ...string) Member {
	return Member{ID: id, Addr: id + ":1", Ready: true, State: "serving", Epoch: epoch, Ring: len(ring), ring: ring}
}

func TestJudge(t *testing.T) {
	api := member("api", "e", "a", "b")
	api.API = true
	silent := Member{ID: "b", Addr: "b:1", State: "silent", Error: "no answer"}
	for _, tt := range []struct {
		name              string
		members           []Member
		answering, owning int
		agree             bool
		why               string
	}{
		{"all well", []Member{member("a", "e", "a", "b"), member("b", "e", "a", "b"), api}, 2, 2, true, ""},
		{"one is silent", []Member{member("a", "e", "a", "b"), silent, api}, 1, 1, false, "b at b:1: no answer"},
		{"rings differ", []Member{member("a", "e", "a", "b"), member("b", "f", "b"), api}, 2, 1, false, "their rings differ: a sees 2, api sees 2, b sees 1"},
		{"a dead node is on the ring", []Member{member("a", "e", "a", "b", "c"), member("b", "e", "a", "b", "c")}, 2, 2, false, "their ring has other nodes, too"},
		{"one is missing", []Member{member("a", "e", "a")}, 1, 1, false, "1 nodes run"},
		{"nothing runs", nil, 0, 0, false, "0 nodes run"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := Status{Desired: 2, Members: tt.members}
			s.judge()
			if s.Answering != tt.answering || s.Owning != tt.owning || s.Agree != tt.agree {
				t.Errorf("answering %d, owning %d, agree %v; want %d, %d, %v", s.Answering, s.Owning, s.Agree, tt.answering, tt.owning, tt.agree)
			}
			if why := s.why(); !tt.agree && !strings.Contains(why, tt.why) {
				t.Errorf("why is %q, want %q in it", why, tt.why)
			}
		})
	}
}

func TestDeploymentValidate(t *testing.T) {
	for _, tt := range []struct {
		name string
		d    Deployment
		want string // in the error; empty for none
	}{
		{"zero value", Deployment{}, ""},
		{"long name", Deployment{Name: strings.Repeat("a", 21)}, "name is"},
		{"capitals", Deployment{Name: "Tom"}, "name is"},
		{"too many", Deployment{Nodes: 65}, "use 1 to 64"},
		{"value in place of a reference", Deployment{Secrets: map[string]string{"GEECACHE_SECRET": "open sesame"}}, "by reference"},
		{"reference to nothing", Deployment{Secrets: map[string]string{"GEECACHE_SECRET": "env:"}}, "by reference"},
		{"references", Deployment{Secrets: map[string]string{"A": "env:B", "C": "file:/d"}}, ""},
		{"snapshots in a bucket", Deployment{Snapshot: "s3://a-bucket/a/prefix"}, ""},
		{"snapshots in a folder", Deployment{Snapshot: "file:///var/lib/geecache"}, ""},
		{"snapshots nowhere", Deployment{Snapshot: "s3:"}, "use s3://BUCKET/PREFIX"},
		{"snapshots of a variable", Deployment{Variables: map[string]string{"GEECACHE_SNAPSHOT": "ftp://a"}}, "use s3://BUCKET/PREFIX"},
		{"snapshots twice", Deployment{Snapshot: "s3://a/b", Variables: map[string]string{"GEECACHE_SNAPSHOT": "s3://a/b"}}, "leave one of them out"},
		{"no variable", Deployment{Variables: map[string]string{"A B": ""}}, "use letters"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.d.Validate()
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("Validate() = %v, want %q", err, tt.want)
			}
		})
	}
}

func TestBucketOf(t *testing.T) {
	for _, tt := range []struct {
		d    Deployment
		want string
	}{
		{Deployment{}, ""},
		{Deployment{Snapshot: "s3://bucket/a/prefix"}, "bucket"},
		{Deployment{Variables: map[string]string{"GEECACHE_SNAPSHOT": "s3://bucket"}}, "bucket"},
		{Deployment{Snapshot: "s3://bucket/a?endpoint=http://elsewhere:1"}, ""},
		{Deployment{Snapshot: "file:///dir"}, ""},
	} {
		if got := bucketOf(tt.d); got != tt.want {
			t.Errorf("bucketOf(%q) = %q, want %q", tt.d.snapshot(), got, tt.want)
		}
	}
}

func TestContainersKeepNoSnapshots(t *testing.T) {
	if err := (Deployment{Snapshot: "file:///dir"}).checkDisk(); err == nil || !strings.Contains(err.Error(), "use s3://") {
		t.Errorf("snapshots on a container's disk: %v", err)
	}
	if err := (Deployment{Snapshot: "s3://bucket"}).checkDisk(); err != nil {
		t.Error(err)
	}
}

func TestSecretsAreRead(t *testing.T) {
	t.Setenv("ENVBENCH_TEST", "open sesame")
	d := Deployment{Secrets: map[string]string{"GEECACHE_SECRET": "env:ENVBENCH_TEST"}}
	if got, err := d.secrets(); err != nil || got["GEECACHE_SECRET"] != "open sesame" {
		t.Errorf("secrets() = %v, %v", got, err)
	}
	t.Setenv("ENVBENCH_TEST", "")
	if _, err := d.secrets(); err == nil {
		t.Error("an empty secret is none, and was taken")
	}
}
