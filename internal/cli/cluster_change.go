package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// changeFlags are the flags of the commands that ask a running `geecache cluster`.
type changeFlags struct {
	port, count int
	wait, json  bool
}

const changeLong = `

N is the node's number, its address or its port, as ` + "`geecache cluster list`" + ` shows
them. The exit status is 0 once all other processes know of it, and 1 if not.`

// newChangeCommands returns the commands below `geecache cluster`.
func newChangeCommands() []*cobra.Command {
	var all []*cobra.Command
	for _, c := range []struct{ use, short, long string }{
		{"add", "Start one more node, or --count of them", "add starts a node, and says how long it took until all others had it in their ring.\nIt takes as much memory as each of the others."},
		{"remove N...", "Have a node leave: it hands over what is used most", "remove sends SIGTERM to a node, which then tells the others, hands its hottest\nentries over and ends."},
		{"kill N...", "Kill a node, as a crash does", "kill sends SIGKILL to a node. It is not started again."},
		{"pause N...", "Stop a node where it is, as a machine does that hangs", "pause sends SIGSTOP to a node: its ports take connections, and nothing answers."},
		{"resume N...", "Let a paused node go on", "resume sends SIGCONT to a node that is paused."},
		{"list", "Show the processes of the cluster", "list shows the processes of the cluster, those that have ended too."},
	} {
		var f changeFlags
		op, _, takesNodes := strings.Cut(c.use, " ")
		cmd := &cobra.Command{
			Use: c.use, Short: c.short, Long: c.long,
			RunE: func(cmd *cobra.Command, args []string) error {
				return f.run(cmd, doorRequest{Op: op, Nodes: args})
			},
			Args: noArgs,
		}
		if takesNodes {
			cmd.Long += changeLong
			cmd.Args = func(cmd *cobra.Command, args []string) error {
				if len(args) == 0 {
					return usagef("%s which node? `geecache cluster list` shows them", op)
				}
				return nil
			}
		}
		cmd.Flags().IntVar(&f.port, "port", 0, "port of the cluster's first node, if several clusters run on this machine")
		cmd.Flags().BoolVar(&f.json, "json", false, "print JSON, a line for each node")
		switch op {
		case "add":
			cmd.Flags().IntVar(&f.count, "count", 1, "how many nodes")
		case "kill", "pause":
			cmd.Flags().BoolVar(&f.wait, "wait", false, "wait until it is in no ring: it keeps its place for about ten seconds")
		case "list":
			cmd.Aliases = []string{"status"}
		}
		all = append(all, cmd)
	}
	return all
}

func (f *changeFlags) run(cmd *cobra.Command, req doorRequest) error {
	switch {
	case req.Op == "add" && (f.count < 1 || f.count > maxClusterNodes):
		return usagef("--count is %d: use 1 to %d", f.count, maxClusterNodes)
	case f.port < 0 || f.port > 65535:
		return usagef("--port is %d: use a port from 1 to 65535", f.port)
	}
	req.Count, req.Wait = f.count, f.wait
	ctx, out := cmd.Context(), cmd.OutOrStdout()
	conn, err := dialDoor(ctx, f.port)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if err := json.NewEncoder(conn).Encode(req); err != nil {
		return fmt.Errorf("the cluster does not listen: %w", err)
	}
	for dec := json.NewDecoder(conn); ; {
		var a doorAnswer
		switch err := dec.Decode(&a); {
		case errors.Is(err, io.EOF):
			return errors.New("the cluster has ended meanwhile")
		case err != nil:
			return fmt.Errorf("the cluster's answer: %w", err)
		case a.End:
			return nil
		case a.Error != "":
			return errors.New(a.Error)
		}
		if err := f.print(out, a); err != nil {
			return err
		}
	}
}

// print shows an answer as it comes.
func (f *changeFlags) print(out io.Writer, a doorAnswer) error {
	switch {
	case f.json && a.Outcome != nil:
		return json.NewEncoder(out).Encode(a.Outcome)
	case a.Outcome != nil:
		_, err := fmt.Fprintln(out, a.Outcome.Text)
		return err
	case f.json:
		enc := json.NewEncoder(out)
		for _, m := range a.Members {
			if err := enc.Encode(m); err != nil {
				return err
			}
		}
		return nil
	}
	p := paletteFor(out)
	t := newTable(0, 2)
	t.head(p, "N", "ADDRESS", "PID", "STATE", "RING")
	for _, m := range a.Members {
		n, ring := strconv.Itoa(m.Node), ""
		if m.Node == 0 {
			n = m.Name
		}
		if m.Epoch != "" {
			ring = fmt.Sprintf("%d nodes, epoch %s", m.Sees, m.Epoch)
		}
		t.row(n, m.Addr, strconv.Itoa(m.PID), p.state(m.State), ring)
	}
	var b strings.Builder
	t.write(&b)
	_, err := io.WriteString(out, b.String())
	return err
}
