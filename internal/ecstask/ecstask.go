// Package ecstask reads what Amazon ECS tells a task of itself, through the
// metadata endpoint, version 4. It calls no API of AWS.
package ecstask

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
)

// Variable is the environment variable that ECS gives each container: the URL of
// its metadata.
const Variable = "ECS_CONTAINER_METADATA_URI_V4"

// ErrNotECS is the error of Read outside of ECS.
var ErrNotECS = errors.New("this is no task of Amazon ECS: " + Variable + " is not set")

// A Task is the task that the process runs in.
type Task struct {
	ID      string // the last part of ARN
	ARN     string
	Cluster string // its name
	Service string // empty if no service started the task, or the agent does not tell
	Family  string
	Zone    string // the availability zone
	IP      string // of the task's network interface
}

// In reports whether the process runs in a task.
func In() bool { return os.Getenv(Variable) != "" }

// maxMetadata is far more than what ECS says.
const maxMetadata = 1 << 20

// Read asks the endpoint that the environment names.
func Read(ctx context.Context) (Task, error) {
	base := os.Getenv(Variable)
	if base == "" {
		return Task{}, ErrNotECS
	}
	t, err := read(ctx, strings.TrimSuffix(base, "/"))
	if err != nil {
		return Task{}, fmt.Errorf("the task's metadata at %s: %w", base, err)
	}
	return t, nil
}

type network struct{ IPv4Addresses, IPv6Addresses []string }

func read(ctx context.Context, base string) (Task, error) {
	var task struct {
		Cluster, TaskARN, Family, ServiceName, AvailabilityZone string
	}
	if err := get(ctx, base+"/task", &task); err != nil {
		return Task{}, err
	}
	t := Task{
		ARN: task.TaskARN, ID: last(task.TaskARN), Cluster: last(task.Cluster),
		Service: task.ServiceName, Family: task.Family, Zone: task.AvailabilityZone,
	}
	if t.ID == "" {
		return Task{}, errors.New("it names no task")
	}
	var container struct{ Networks []network }
	if err := get(ctx, base, &container); err != nil {
		return Task{}, err
	}
	if t.IP = firstAddress(container.Networks); t.IP == "" {
		t.IP = ownAddress(ctx, base) // an emulator may not tell
	}
	if t.IP == "" {
		return Task{}, errors.New("it tells no address of the task: say with --advertise how others reach it")
	}
	return t, nil
}

func get(ctx context.Context, url string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	// The endpoint is on the machine itself: never through a proxy.
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s", resp.Status)
	}
	return json.NewDecoder(io.LimitReader(resp.Body, maxMetadata)).Decode(into)
}

// last returns the part of an ARN after the last slash, or a name as it is.
func last(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }

// firstAddress returns the first usable address, one of IPv4 if there is any.
func firstAddress(networks []network) string {
	for _, of := range []func(network) []string{
		func(n network) []string { return n.IPv4Addresses },
		func(n network) []string { return n.IPv6Addresses },
	} {
		for _, n := range networks {
			for _, s := range of(n) {
				if a, err := netip.ParseAddr(s); err == nil && a.IsValid() && !a.IsUnspecified() && !a.IsLoopback() {
					return a.String()
				}
			}
		}
	}
	return ""
}

// ownAddress returns the address from which the metadata's host is reached, if
// that is not this machine itself or one that only this machine has.
func ownAddress(ctx context.Context, base string) string {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base, nil)
	if err != nil {
		return ""
	}
	host, port := req.URL.Hostname(), req.URL.Port()
	if port == "" {
		port = "80"
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "udp", net.JoinHostPort(host, port)) // sends nothing
	if err != nil {
		return ""
	}
	defer func() { _ = conn.Close() }()
	local, err := netip.ParseAddrPort(conn.LocalAddr().String())
	if err != nil || local.Addr().IsLoopback() || local.Addr().IsLinkLocalUnicast() {
		return ""
	}
	return local.Addr().Unmap().String()
}
