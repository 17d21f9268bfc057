package cli

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/internal/node"
)

// A versionInfo says what this program was built from.
type versionInfo struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Time     string `json:"time,omitempty"` // of the commit
	Modified bool   `json:"modified"`       // built from a changed checkout
	Go       string `json:"go"`
	Platform string `json:"platform"`
	Protocol string `json:"protocol"` // of nodes: the same or the next minor version is understood
}

// newVersionCommand returns `geecache version`.
func newVersionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version of the program and of the protocol that nodes speak",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := thisVersion()
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(v)
			}
			text := "geecache " + v.Version
			if v.Commit != "" {
				text += " (commit " + v.Commit[:min(len(v.Commit), 12)]
				if v.Modified {
					text += ", modified"
				}
				text += ")"
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s\nprotocol %s\n%s %s\n", text, v.Protocol, v.Go, v.Platform)
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func thisVersion() versionInfo {
	v := versionInfo{
		Version: node.Version(), Go: runtime.Version(),
		Platform: runtime.GOOS + "/" + runtime.GOARCH, Protocol: geecache.ProtocolVersion,
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				v.Commit = s.Value
			case "vcs.time":
				v.Time = s.Value
			case "vcs.modified":
				v.Modified = s.Value == "true"
			}
		}
	}
	return v
}
