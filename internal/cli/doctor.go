package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/geecache/geecache/internal/node"
)

const doctorLong = `doctor looks for what is wrong with a deployment, and says how to put it right.

With --addr it asks a running node, and all nodes that this one knows: are their
ports reachable, do their secrets, cluster IDs, protocols and certificates go
together, do they agree on the ring and reach each other and their registry, do
their clocks, do their budgets fit into their memory.

Without it, it takes the flags and variables of geecache node, and looks from
there: the registry and who is in it, this node among them, the certificate, the
source, this control group's memory; and then at the nodes as before. It is run
where the node runs, beside it or before its start. It enters itself nowhere.

Nodes with --admin-listen tell of themselves on that port alone. --admin says
where it is; else, with a node's flags, the same port is tried on all hosts. Of a
node that does not tell of itself, its ring and its clock are compared, and its
registry, links and memory are "unknown".

The exit status is 0 if nothing is wrong, 1 if it has found a fault, and 2 if
something could not be checked.`

const doctorExample = `  geecache doctor --addr 127.0.0.1:8001
  geecache doctor --addr 10.0.0.1:8001 --secret-file secret --json
  geecache doctor --registry etcd://10.0.0.9:2379 --secret-file secret --listen 0.0.0.0:8001
  geecache doctor --addr 10.0.0.1:8001 --admin 8081
  GEECACHE_REGISTRY=auto geecache doctor`

// The findings of a check.
const (
	findOK      = "ok"
	findFault   = "fault"
	findUnknown = "unknown" // it could not be looked at
)

// A finding is what one check says.
type finding struct {
	Check   string `json:"check"`
	Subject string `json:"subject,omitempty"` // a node, as a rule
	Status  string `json:"status"`            // "ok", "fault" or "unknown"
	Text    string `json:"text"`
	Remedy  string `json:"remedy,omitempty"`
}

// doctorFlags are the flags of `geecache doctor`: those of a node, and its own.
type doctorFlags struct {
	nodeFlags
	addr    string
	admin   []string
	timeout time.Duration
	maxSkew time.Duration
	json    bool
}

// newDoctorCommand returns `geecache doctor`.
func newDoctorCommand() *cobra.Command {
	var f doctorFlags
	cmd := &cobra.Command{
		Use:     "doctor",
		Short:   "Look for what is wrong with a deployment",
		Long:    doctorLong,
		Example: doctorExample,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := setFromEnv(cmd.Flags(), slices.DeleteFunc(os.Environ(), forRegistries)); err != nil {
				return err
			}
			return f.run(cmd)
		},
	}
	cmd.Flags().StringVar(&f.addr, "addr", "", "host:port of a running node to begin with, in place of a node's flags")
	cmd.Flags().StringSliceVar(&f.admin, "admin", nil, "where nodes with --admin-listen tell of themselves: a port, the same on all hosts, or ID=host:port for one node; repeat it for several")
	cmd.Flags().DurationVar(&f.timeout, "timeout", 3*time.Second, "how long to wait for each answer")
	cmd.Flags().DurationVar(&f.maxSkew, "max-skew", time.Second, "how far clocks may be apart")
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON")
	f.nodeFlags.register(cmd)
	return cmd
}

// A doctor collects findings.
type doctor struct {
	*doctorFlags
	cluster  string         // the ID that nodes should have
	trusted  *trusted       // what it proves itself with
	doors    adminDoors     // where nodes may tell of themselves
	wanted   *wantedRing    // the ring of the flags, where it is a list that stays
	findings []finding      // in the order of the checks
	self     string         // ID of the node whose flags were given, if any
	about    map[string]int // faults by subject
}

func (d *doctor) find(f finding) {
	if f.Status == findFault {
		d.about[f.Subject]++
	}
	d.findings = append(d.findings, f)
}

func (d *doctor) ok(check, subject, format string, args ...any) {
	d.find(finding{check, subject, findOK, fmt.Sprintf(format, args...), ""})
}

func (d *doctor) fault(check, subject, text, remedy string) {
	d.find(finding{check, subject, findFault, text, remedy})
}

func (d *doctor) unknown(check, subject, text, remedy string) {
	d.find(finding{check, subject, findUnknown, text, remedy})
}

// count returns how many findings have a status.
func (d *doctor) count(status string) (n int) {
	for _, f := range d.findings {
		if f.Status == status {
			n++
		}
	}
	return n
}

func (f *doctorFlags) run(cmd *cobra.Command) error {
	if f.timeout <= 0 || f.maxSkew <= 0 {
		return usagef("--timeout is %v and --max-skew %v: use positive durations such as 3s", f.timeout, f.maxSkew)
	}
	d := &doctor{doctorFlags: f, cluster: f.nodeFlags.cluster, about: make(map[string]int)}
	var err error
	if d.doors, err = parseAdminDoors(f.admin); err != nil {
		return &usageError{err}
	}
	ctx := cmd.Context()
	if f.addr == "" {
		cfg, err := f.nodeConfig(slog.New(slog.DiscardHandler))
		if err != nil {
			return err
		}
		if cfg, err = cfg.WithDefaults(); err != nil {
			return &usageError{err}
		}
		d.examineConfig(ctx, cfg)
	} else if err := d.examineRunning(ctx, cmd.Flags().Changed("cluster-id")); err != nil {
		return err
	}
	if err := d.print(cmd.OutOrStdout()); err != nil {
		return err
	}
	switch faults, unknown := d.count(findFault), d.count(findUnknown); {
	case faults == 1:
		return &clientError{errors.New("1 fault was found"), 1}
	case faults > 1:
		return &clientError{fmt.Errorf("%d faults were found", faults), 1}
	case unknown > 0:
		return &clientError{fmt.Errorf("no fault was found, and %d checks could not be made", unknown), 2}
	}
	return nil
}

// print shows the findings.
func (d *doctor) print(out io.Writer) error {
	if d.json {
		return json.NewEncoder(out).Encode(map[string]any{
			"healthy": d.count(findOK) == len(d.findings), "faults": d.count(findFault), "findings": d.findings,
		})
	}
	p := paletteFor(out)
	var b strings.Builder
	t := newTable()
	for _, f := range d.findings {
		mark := p.green(f.Status)
		switch f.Status {
		case findFault:
			mark = p.red("FAULT")
		case findUnknown:
			mark = p.yellow(f.Status)
		}
		t.row(mark, f.Check, f.Subject, f.Text)
		if f.Remedy != "" {
			t.row("", "", "", p.faint("-> ")+f.Remedy)
		}
	}
	t.write(&b)
	_, err := io.WriteString(out, b.String())
	return err
}

// examineRunning begins with a running node.
func (d *doctor) examineRunning(ctx context.Context, clusterGiven bool) error {
	if (d.tls.Cert == "") != (d.tls.Key == "") {
		return usagef("--tls-cert, --tls-key: give both or neither")
	}
	var err error
	if d.trusted, err = d.openTrust(); err != nil {
		d.fault("credentials", "", err.Error(), "put the file right, or give another one")
		return nil
	}
	c, err := d.client(d.addr)
	if err != nil {
		return err
	}
	t := target{id: c.base.Host, addr: c.base.Host, guessed: true}
	status, door, err := d.askStatus(ctx, &t)
	switch {
	case err != nil:
		// The address is one of a node at least: what is wrong with it?
		d.examineNodes(ctx, []target{t})
		if d.count(findFault)+d.count(findUnknown) == 0 {
			d.unknown("status", t.id, reachError(err), "name a node with --addr")
		}
		return nil
	case !clusterGiven:
		d.cluster = status.Cluster
	case status.Cluster != d.cluster:
		d.fault("cluster ID", status.ID, fmt.Sprintf("it is of the cluster %q, not %q", status.Cluster, d.cluster), "give it the same --cluster-id")
		return nil
	}
	d.examineNodes(ctx, targetsOf(&status.memberStatus, door))
	return nil
}

// examineConfig begins with the configuration of a node.
func (d *doctor) examineConfig(ctx context.Context, cfg node.Config) {
	d.self = cfg.ID
	d.doors.own(cfg.AdminListen)
	if !d.examineCredentials(cfg) {
		return // each node would seem to be at fault
	}
	d.examineMemory(cfg)
	d.examineSource(ctx, cfg)
	running := d.examinePort(ctx, &cfg)
	targets := d.examineRegistry(ctx, &cfg, running)
	isSelf := func(t target) bool { return t.id == d.self || t.addr == cfg.Advertise }
	if !running { // it may be in the list, and need not be there yet
		targets = slices.DeleteFunc(targets, isSelf)
	} else if !slices.ContainsFunc(targets, isSelf) {
		// That a registry does not name it has been told; that peers do not is seen in the rings.
		targets = append(targets, target{id: cfg.ID, addr: cfg.Advertise, role: cfg.Role, outside: cfg.Registry != ""})
	}
	d.examineNodes(ctx, targets)
}
