package envbench

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// What is counted as one log stream where all processes share one.
const sharedStream = "all"

// SeekLogs implements LogSeeker: all processes write to one file.
func (l *local) SeekLogs(_ context.Context, name, text string) (LogView, error) {
	path := filepath.Join(l.dir(name), "log")
	v := LogView{Place: withoutHome(path), Streams: map[string]int{sharedStream: 1}, Events: make(map[string]int)}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return v, ErrAbsent
	} else if err != nil {
		return v, err
	}
	defer func() { _ = f.Close() }()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, maxAnswer)
	for lines.Scan() {
		if strings.Contains(lines.Text(), text) {
			v.Events[filepath.Base(path)]++
		}
	}
	return v, lines.Err()
}

// ListMetrics implements MetricLister.
func (l *local) ListMetrics(ctx context.Context, name string) (map[string][]string, error) {
	return exposed(ctx, l, name)
}

// LookUp implements Looker: a cluster of this machine's processes has no registry but its
// own gossip.
func (l *local) LookUp(context.Context, string, int) []Lookup {
	const evidence = "the environment local runs processes of this machine and nothing beside them: "
	return without(
		Lookup{Method: "cloudmap", Err: &Unsupported{"Cloud Map", evidence + "there is no API of AWS"}},
		Lookup{Method: "ecs", Err: &Unsupported{"the API of ECS", evidence + "there is no API of AWS"}},
		Lookup{Method: "dns", Err: &Unsupported{"DNS", evidence + "no name stands for the nodes"}},
		Lookup{Method: "etcd", Err: &Unsupported{"etcd", evidence + "no etcd is started"}},
	)
}

var (
	_ LogSeeker    = (*local)(nil)
	_ MetricLister = (*local)(nil)
	_ Looker       = (*local)(nil)
)

// without returns lookups of what there is not.
func without(all ...Lookup) []Lookup { return all }

// withoutHome returns a path of the user's as others have it, too.
func withoutHome(path string) string {
	home, err := os.UserHomeDir()
	if rest, ok := strings.CutPrefix(path, home+string(filepath.Separator)); err == nil && ok {
		return filepath.Join("~", rest)
	}
	return path
}
