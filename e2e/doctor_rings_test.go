//go:build linux

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Rings that differ are found where nodes do not tell of themselves on their ports,
// and where one is in nobody's list but its own.

// unsure fails the test unless the doctor finds no fault, and could not look at all:
// at the check, at the subjects.
func unsure(t *testing.T, check string, subjects []string, args ...string) {
	t.Helper()
	status, r := examine(t, []string{geecache}, args...)
	var found []string
	for _, f := range r.Findings {
		if f.Status != "ok" {
			found = append(found, f.Subject)
		}
		if f.Status != "ok" && (f.Status != "unknown" || f.Check != check || f.Remedy == "") {
			t.Errorf("geecache doctor %s: %+v", strings.Join(args, " "), f)
		}
	}
	if status != 2 || r.Healthy || strings.Join(found, " ") != strings.Join(subjects, " ") {
		t.Errorf("geecache doctor %s: status %d, %q could not be looked at, want 2 and %q: %+v", strings.Join(args, " "), status, found, subjects, r)
	}
}

// ready waits until processes are ready whose other endpoints are elsewhere.
func ready(t *testing.T, nodes []*process) {
	t.Helper()
	for _, n := range nodes {
		eventually(t, n.name, func() error {
			code, _, err := get(n.url("/readyz"))
			if err == nil && code != http.StatusOK {
				err = fmt.Errorf("%d", code)
			}
			return err
		})
	}
}

func TestDoctorOfNodesWithAdminPorts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var addrs, doors []string
	for range 3 {
		addrs, doors = append(addrs, freeAddr(t)), append(doors, freeAddr(t))
	}
	list := func(name string, members ...string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(strings.Join(members, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return "file:" + path
	}
	less, all := list("less", addrs[:2]...), list("all", addrs...)
	var nodes []*process
	var admin []string
	for i, addr := range addrs {
		url := all
		if i == 0 {
			url = less
		}
		nodes = append(nodes, startNode(t, addr, "--registry", url, "--admin-listen", doors[i]))
		admin = append(admin, addr+"="+doors[i])
	}
	ready(t, nodes)
	own := []string{"--listen", addrs[1], "--registry", all}
	known := append(own, "--admin", strings.Join(admin, ","))
	ill(t, "ring", addrs[0], addrs[2]+" is missing", known...)
	status, r := examine(t, []string{geecache}, own...)
	found := false
	for _, f := range r.Findings {
		found = found || f.Check == "ring" && f.Subject == addrs[0] && f.Status == "fault" && strings.Contains(f.Text, "epoch")
	}
	if status != 1 || !found {
		t.Errorf("a ring that differs is not found over the nodes' ports: status %d: %+v", status, r)
	}

	list("less", addrs...)
	eventually(t, "health", func() error {
		if status, r := examine(t, []string{geecache}, known...); status != 0 {
			return fmt.Errorf("%d: %+v", status, r)
		}
		return nil
	})
	unsure(t, "status", addrs, own...)
	unsure(t, "status", []string{addrs[0], addrs[2]}, append(own, "--admin-listen", doors[1])...)
	unsure(t, "status", addrs[2:], "--addr", addrs[2])
	healthy(t, "--addr", addrs[2], "--admin", strings.Join(admin, ","))
	healthy(t, "--addr", doors[0], "--admin", strings.Join(admin[1:], ","))
}

func TestDoctorFindsANodeThatPeersDoNotList(t *testing.T) {
	t.Parallel()
	addrs, nodes, peers := startThree(t, nothing, nil)
	connectAll(t, nodes)
	late, some := freeAddr(t), strings.Join(addrs[:2], ",")
	ill(t, "ring", late, late+" is there besides", "--listen", late, "--peers", peers) // before its start
	ill(t, "ring", addrs[0], addrs[2]+" is missing", "--listen", addrs[0], "--peers", some)
	startNode(t, late, "--peers", some).awaitConnected(t, 3)
	ill(t, "ring", late, addrs[2]+" is missing, "+late+" is there besides", "--listen", late, "--peers", some)
}

// One that is in the list and not there yet is no fault, when it is the one that asks.
func TestDoctorBeforeTheStart(t *testing.T) {
	t.Parallel()
	addrs := []string{freeAddr(t), freeAddr(t), freeAddr(t)}
	peers := strings.Join(addrs, ",")
	connectAll(t, []*process{startNode(t, addrs[0], "--peers", peers), startNode(t, addrs[1], "--peers", peers)})
	healthy(t, "--listen", addrs[2], "--peers", peers)
	ill(t, "port", addrs[2], "refused", "--listen", addrs[0], "--peers", peers)
}

// The API of a node has a port of its own, which no node connects to.
func TestDoctorAsksTheAPIOfANode(t *testing.T) {
	t.Parallel()
	api := freeAddr(t)
	_, nodes, _ := startThree(t, func(i int) []string {
		if i == 2 {
			return []string{"--api", "--api-listen", api}
		}
		return nil
	}, nil)
	connectAll(t, nodes)
	healthy(t, "--addr", api)
}
