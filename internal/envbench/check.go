package envbench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/geecache/geecache/geecachepb"
)

// Expect is what Check asks for: a key with its value, and one that there is not.
type Expect struct{ Group, Key, Value, Absent string }

// DemoExpect is what the demonstration database holds.
func DemoExpect() Expect { return Expect{Group: "scores", Key: "Tom", Value: "630", Absent: "kkk"} }

// A Finding is one thing that Check has looked at.
type Finding struct {
	What string `json:"what"`
	Err  string `json:"error,omitempty"` // empty: it is as it should be
}

// Check looks whether a cluster answers as it should: through its API, and at each node.
// secret is the cluster's, empty if it has none.
func Check(ctx context.Context, s *Status, secret string, e Expect) []Finding {
	p := newProber(secret, false)
	defer p.close()
	var all []Finding
	add := func(what string, err error) {
		f := Finding{What: what}
		if err != nil {
			f.Err = err.Error()
		}
		all = append(all, f)
	}
	var agree error
	if !s.Agree {
		agree = errors.New(s.why())
	}
	add(fmt.Sprintf("all %d nodes answer and agree on one ring", s.Desired), agree)
	query := func(key string) string { return "/api?" + url.Values{"key": {key}, "group": {e.Group}}.Encode() }
	api := strings.TrimPrefix(s.API, "http://")
	add(fmt.Sprintf("%s is %s at %s", e.Key, e.Value, s.API), expect(ctx, p.getPlain, api, query(e.Key), e.Value, false))
	add(fmt.Sprintf("%s is not found at %s", e.Absent, s.API), expectAbsent(ctx, p.getPlain, api, query(e.Absent)))
	for _, m := range s.Members {
		if m.API {
			continue
		}
		path := "/_geecache/" + url.PathEscape(e.Group) + "/"
		add(fmt.Sprintf("%s is %s at node %s", e.Key, e.Value, m.ID), expect(ctx, p.get, m.Addr, path+url.PathEscape(e.Key), e.Value, true))
		add(fmt.Sprintf("%s is not found at node %s", e.Absent, m.ID), expectAbsent(ctx, p.get, m.Addr, path+url.PathEscape(e.Absent)))
	}
	return all
}

type getter func(ctx context.Context, addr, path string) ([]byte, error)

// expect returns an error unless the answer is the value, which may be in a message.
func expect(ctx context.Context, get getter, addr, path, value string, message bool) error {
	body, err := get(ctx, addr, path)
	if err != nil {
		return err
	}
	if message {
		var pb geecachepb.Response
		if err := proto.Unmarshal(body, &pb); err != nil {
			return err
		}
		body = pb.Value
	}
	if string(body) != value {
		return fmt.Errorf("it is %.100q", body)
	}
	return nil
}

// expectAbsent returns an error unless the answer says that there is no such key.
func expectAbsent(ctx context.Context, get getter, addr, path string) error {
	body, err := get(ctx, addr, path)
	var status *statusError
	switch {
	case errors.As(err, &status) && status.code == http.StatusNotFound && status.reason == "not-found":
		return nil
	case err != nil:
		return err
	}
	return fmt.Errorf("it is %.100q", body)
}
