package words

import "testing"

func TestBytes(t *testing.T) {
	for s, want := range map[string]int64{
		"0": 0, "1": 1, "500000": 500000, "64MiB": 64 << 20, "64mib": 64 << 20, "1.5GiB": 3 << 29,
		"10 KiB": 10 << 10, "2KB": 2000, "3MB": 3e6, "1GB": 1e9, "7B": 7,
	} {
		if got, err := Bytes(s); err != nil || got != want {
			t.Errorf("%q: %d, %v, want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "x", "MiB", "-1", "1TiBx", "NaN", "Inf", "9e99GiB", "1MiB2"} {
		if got, err := Bytes(s); err == nil {
			t.Errorf("%q is read as %d", s, got)
		}
	}
}
