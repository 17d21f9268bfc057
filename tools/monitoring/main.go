// Command monitoring writes the Grafana dashboards of monitoring/grafana/dashboards
// from their description in this package, where each panel states its PromQL and its
// CloudWatch query side by side. It writes nothing else: rules are YAML files, written
// by hand.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	root := flag.String("root", "../..", "the repository's `directory`")
	flag.Parse()
	if err := write(filepath.Join(*root, "monitoring", "grafana", "dashboards")); err != nil {
		fmt.Fprintf(os.Stderr, "monitoring: %v\n", err)
		os.Exit(1)
	}
}

// write writes all dashboards into a directory that exists.
func write(dir string) error {
	for _, b := range boards() {
		data, err := encode(b)
		if err != nil {
			return fmt.Errorf("%s: %w", b.uid, err)
		}
		if err := os.WriteFile(filepath.Join(dir, b.uid+".json"), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// encode returns a dashboard as JSON, the same for the same description.
func encode(b board) ([]byte, error) {
	built, err := b.build()
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(built); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
