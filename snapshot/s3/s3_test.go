package s3

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/geecache/geecache/snapshot"
	"github.com/geecache/geecache/snapshot/snapshottest"
)

// open returns a storage whose credentials are made up.
func open(t *testing.T, cfg Config) *Storage {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "local")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "local")
	t.Setenv("AWS_REGION", "us-east-1")
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestContract(t *testing.T) {
	for _, server := range []struct{ name, variable string }{
		{"moto", "GEECACHE_TEST_MOTO"}, {"MiniStack", "GEECACHE_TEST_MINISTACK"},
	} {
		t.Run(server.name, func(t *testing.T) {
			cfg := Config{
				Bucket: fmt.Sprintf("geecache-%d", time.Now().UnixNano()), Prefix: "a/prefix",
				Endpoint: snapshottest.Server(t, server.variable),
			}
			s := open(t, cfg)
			err := s.Put(t.Context(), "c/n/a", nil)
			if err == nil || !strings.Contains(err.Error(), "there is no bucket \""+cfg.Bucket+"\": make it") {
				t.Errorf("a bucket that is not there: %v", err)
			}
			if _, err := s.client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &cfg.Bucket}); err != nil {
				t.Fatal(err)
			}
			snapshottest.Run(t, func(t *testing.T) snapshot.Storage { return open(t, cfg) })
		})
	}
}

// What AWS refuses is told with what to do about it.
func TestRefusals(t *testing.T) {
	for code, want := range map[string]string{
		"AccessDenied":       "the permission s3:ListBucket is missing",
		"ExpiredToken":       "the AWS credentials have expired",
		"InvalidAccessKeyId": "AWS does not know the credentials",
		"NoSuchBucket":       `there is no bucket "a-bucket"`,
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>no</Message></Error>", code)
		}))
		t.Cleanup(server.Close)
		s := open(t, Config{Bucket: "a-bucket", Endpoint: server.URL})
		if _, err := s.List(t.Context(), "c"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", code, err, want)
		}
	}
}

// A server that is busy is asked again; a body that is cut off is an error of Read.
func TestTrouble(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked++; asked == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, "<Error><Code>SlowDown</Code></Error>")
			return
		}
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "half")
	}))
	t.Cleanup(server.Close)
	s := open(t, Config{Bucket: "a-bucket", Endpoint: server.URL})
	body, err := s.Open(t.Context(), "c/n/a")
	if err != nil || asked != 2 {
		t.Fatalf("asked %d times: %v", asked, err)
	}
	defer func() { _ = body.Close() }()
	if text, err := io.ReadAll(body); err == nil {
		t.Errorf("%q is taken for all of it", text)
	}
}

func TestParseURL(t *testing.T) {
	for raw, want := range map[string]Config{
		"s3://bucket":                        {Bucket: "bucket"},
		"s3://my.bucket-1/":                  {Bucket: "my.bucket-1"},
		"s3://bucket/a/b/":                   {Bucket: "bucket", Prefix: "a/b"},
		"s3://bucket/a?region=eu-central-1":  {Bucket: "bucket", Prefix: "a", Region: "eu-central-1"},
		"s3://bucket?endpoint=http://h:4566": {Bucket: "bucket", Endpoint: "http://h:4566"},
		"s3://Bucket/a":                      {}, "s3:///a": {}, "s3://b/a": {}, "s3://bucket/a?x=y": {}, "s3://bucket?endpoint=h": {},
		"file:///a": {}, "s3://user@bucket/a": {}, "s3://bucket:80/a": {},
	} {
		got, err := ParseURL(raw)
		if (err == nil) != (want.Bucket != "") || err == nil && got != want {
			t.Errorf("%s: %+v, %v; want %+v", raw, got, err, want)
		}
	}
}
