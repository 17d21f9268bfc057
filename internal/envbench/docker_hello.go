package envbench

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// upHello deploys static servers in the nodes' and the API's place, by a compose file of
// their own: they have no health check, no secret and no volume.
func (c *composed) upHello(ctx context.Context, w *stopwatch, d Deployment) (_ *Status, err error) {
	service := func(port int) map[string]any {
		return map[string]any{
			"image": d.Image, "environment": map[string]string{"PORT": strconv.Itoa(port)}, "networks": []string{"cluster"},
			"labels": map[string]string{labelHello: "true"}, "read_only": true, "cap_drop": []string{"ALL"},
		}
	}
	api := service(apiPort)
	api["ports"] = []string{fmt.Sprintf("127.0.0.1:%d:%d", cmp.Or(d.APIPort, defaultDockerAPI), apiPort)}
	text, err := json.Marshal(map[string]any{
		"services": map[string]any{nodeService: service(nodePort), apiService: api},
		"networks": map[string]any{"cluster": map[string]any{"driver_opts": map[string]string{"com.docker.network.bridge.host_binding_ipv4": "127.0.0.1"}}},
	})
	if err != nil {
		return nil, err
	}
	dir, err := TempDir("hello")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	alone := &composed{Options: c.Options, file: filepath.Join(dir, "hello.json")}
	if err := os.WriteFile(alone.file, text, 0o600); err != nil {
		return nil, err
	}
	return alone.bring(ctx, w, d.Name, d.Nodes, nil, nil)
}
