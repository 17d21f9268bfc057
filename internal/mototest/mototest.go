// Package mototest stands between tests and moto, a server that answers as AWS's APIs do,
// where its answers are not what AWS's SDK takes. It starts no server.
package mototest

import (
	"bytes"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var number = regexp.MustCompile(`"(cpu|memory)": ?([0-9]+)`)

// Proxy returns the address of a proxy to moto, which ends with the test. moto tells a
// container's CPU and memory as numbers where the API has strings, and the SDK insists; and
// it asks for security groups, which need not be given.
func Proxy(t *testing.T, moto string) string {
	t.Helper()
	upstream, err := url.Parse(moto)
	if err != nil {
		t.Fatal(err)
	}
	p := httptest.NewServer(&httputil.ReverseProxy{
		ErrorLog: log.New(io.Discard, "", 0), // of calls that a timeout ends
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(upstream)
			if !calls(r.In, ".CreateService", ".RunTask") {
				return
			}
			body, err := io.ReadAll(r.In.Body)
			if err != nil {
				t.Error(err)
			}
			body = bytes.Replace(body, []byte(`"awsvpcConfiguration":{`), []byte(`"awsvpcConfiguration":{"securityGroups":[],`), 1)
			r.Out.Body, r.Out.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		},
		ModifyResponse: func(resp *http.Response) error {
			if !calls(resp.Request, "Task", "Tasks") {
				return nil
			}
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				return err
			}
			body = number.ReplaceAll(body, []byte(`"$1": "$2"`))
			resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
			resp.Header.Set("Content-Length", strconv.Itoa(len(body)))
			return nil
		},
	})
	t.Cleanup(p.Close)
	return p.URL
}

// calls reports whether a request is a call whose name ends with one of these.
func calls(r *http.Request, ends ...string) bool {
	target := r.Header.Get("X-Amz-Target")
	for _, end := range ends {
		if strings.HasSuffix(target, end) {
			return true
		}
	}
	return false
}
