package memory

import (
	"testing"
	"testing/fstest"
)

func TestLimit(t *testing.T) {
	const (
		unlimited = "9223372036854771712\n"
		mem       = "MemTotal:       24683668 kB\n"
		v1        = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n34 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
		v2        = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
	)
	for _, tc := range []struct {
		name, cgroup, mounts string
		files                map[string]string
		want                 int64
	}{
		{"not Linux", "", "", nil, 0},
		{"version 1", "4:memory:/a/b\n3:cpuset:/x\n", v1, map[string]string{
			"sys/fs/cgroup/memory/memory.limit_in_bytes":     unlimited,
			"sys/fs/cgroup/memory/a/memory.limit_in_bytes":   "300\n",
			"sys/fs/cgroup/memory/a/b/memory.limit_in_bytes": "400\n",
		}, 300},
		{"version 1, no limit", "4:memory:/a\n", v1, map[string]string{
			"sys/fs/cgroup/memory/memory.limit_in_bytes":   unlimited,
			"sys/fs/cgroup/memory/a/memory.limit_in_bytes": unlimited,
		}, 0},
		{"version 1, several in one", "4:cpu,memory:/a\n", "35 31 0:32 / /m rw - cgroup cgroup rw,cpu,memory\n", map[string]string{
			"m/a/memory.limit_in_bytes": "7\n",
		}, 7},
		{"version 1 in a container", "4:memory:/docker/abc\n", "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n", map[string]string{
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "512\n",
		}, 512},
		{"version 2", "0::/a/b\n", v2, map[string]string{
			"sys/fs/cgroup/a/memory.max":   "max\n",
			"sys/fs/cgroup/a/b/memory.max": "200\n",
		}, 200},
		{"version 2, the parent's is smaller", "0::/a/b\n", v2, map[string]string{
			"sys/fs/cgroup/a/memory.max":   "100\n",
			"sys/fs/cgroup/a/b/memory.max": "200\n",
		}, 100},
		{"version 2 in a container", "0::/\n", v2, map[string]string{"sys/fs/cgroup/memory.max": "64\n"}, 64},
		{"version 2, a name of the host's", "0::/../other\n", v2, map[string]string{"sys/fs/cgroup/memory.max": "64\n"}, 64},
		{"both, memory in version 1", "0::/\n4:memory:/a\n", v1 + v2, map[string]string{
			"sys/fs/cgroup/memory/a/memory.limit_in_bytes": "9\n",
		}, 9},
		{"more than the machine has", "0::/\n", v2, map[string]string{"sys/fs/cgroup/memory.max": "99999999999999\n"}, 0},
		{"nonsense", "x\n::\n", "a - b\n\n1 2 3\n", nil, 0},
	} {
		root := fstest.MapFS{"proc/meminfo": {Data: []byte(mem)}}
		root["proc/self/cgroup"] = &fstest.MapFile{Data: []byte(tc.cgroup)}
		root["proc/self/mountinfo"] = &fstest.MapFile{Data: []byte(tc.mounts)}
		for name, data := range tc.files {
			root[name] = &fstest.MapFile{Data: []byte(data)}
		}
		if got := limitIn(root); got != tc.want {
			t.Errorf("%s: %d, want %d", tc.name, got, tc.want)
		}
	}
	if got := limitIn(fstest.MapFS{}); got != 0 {
		t.Errorf("without /proc: %d", got)
	}
}
