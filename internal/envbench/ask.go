package envbench

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/geecachepb"
)

// An Asker asks the processes of a deployment, each at its own address, as an operator
// does: it proves the cluster's secret, and keeps connections. It is safe for concurrent use.
type Asker struct{ p *prober }

// NewAsker returns what asks the processes of a deployment. Close it.
func NewAsker(ctx context.Context, d Driver, name string) (*Asker, error) {
	secret := ""
	if keeper, ok := d.(interface {
		Secret(context.Context, string) (string, error)
	}); ok {
		var err error
		if secret, err = keeper.Secret(ctx, name); err != nil {
			return nil, err
		}
	}
	return &Asker{newProber(secret, false)}, nil
}

// Close closes the connections that are not in use.
func (a *Asker) Close() { a.p.close() }

// A NodeView is what a process says of itself on /statusz, as far as it is looked at.
type NodeView struct {
	geecache.NodeStats
	Registry *struct {
		Kind string `json:"kind"`
		URL  string `json:"url"`
	} `json:"registry"` // nil: it follows none
}

// Nodes returns the IDs of the nodes on the process's ring.
func (v *NodeView) Nodes() (ids []string) {
	for _, p := range v.Peers {
		if p.Role == geecache.RoleNode {
			ids = append(ids, p.ID)
		}
	}
	return ids
}

// View asks a process for what it says of itself.
func (a *Asker) View(ctx context.Context, addr string) (*NodeView, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	body, err := a.p.get(ctx, addr, "/statusz")
	if err != nil {
		return nil, err
	}
	var v NodeView
	if err := json.Unmarshal(body, &v); err != nil || v.ID == "" {
		return nil, errors.New("it is no GeeCache node")
	}
	return &v, nil
}

// Metrics returns what a process says on /metrics.
func (a *Asker) Metrics(ctx context.Context, addr string) ([]byte, error) {
	return a.p.get(ctx, addr, "/metrics")
}

// Mark has a process log a marker. A process takes only so many in a second: then the
// next one is waited for.
func (a *Asker) Mark(ctx context.Context, addr, marker string) error {
	return poll(ctx, func(ctx context.Context) (bool, error) {
		err := a.mark(ctx, addr, marker)
		var refused *statusError
		if errors.As(err, &refused) && refused.code == http.StatusTooManyRequests {
			return false, nil
		}
		return true, err
	})
}

func (a *Asker) mark(ctx context.Context, addr, marker string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+"/logz?"+url.Values{"marker": {marker}}.Encode(), nil)
	if err != nil {
		return err
	}
	resp, err := a.p.http.Do(req)
	if err != nil {
		return short(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return short(err)
	}
	if resp.StatusCode != http.StatusOK {
		line, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
		return &statusError{resp.StatusCode, resp.Header.Get("Geecache-Error"), line}
	}
	return nil
}

// Value asks a node for a key by the protocol of nodes.
func (a *Asker) Value(ctx context.Context, addr, group, key string) (string, error) {
	body, err := a.p.get(ctx, addr, "/_geecache/"+url.PathEscape(group)+"/"+url.PathEscape(key))
	if err != nil {
		return "", err
	}
	var pb geecachepb.Response
	err = proto.Unmarshal(body, &pb)
	return string(pb.Value), err
}
