package lru

import "testing"

func TestShardsAreChosenFromTheBudget(t *testing.T) {
	for _, tt := range []struct {
		cfg  Config
		want int
	}{
		{Config{}, 64},
		{Config{MaxBytes: 1}, 1},
		{Config{MaxBytes: 512<<10 - 1}, 1},
		{Config{MaxBytes: 512 << 10}, 2},
		{Config{MaxBytes: 3 << 20}, 8},
		{Config{MaxBytes: 16 << 20}, 64},
		{Config{MaxBytes: 1 << 50}, 64},
		{Config{MaxBytes: 1, Shards: 1024}, 1024},
	} {
		c, err := New(tt.cfg)
		if err != nil {
			t.Fatal(err)
		}
		if len(c.shards) != tt.want {
			t.Errorf("%+v: %d shards, want %d", tt.cfg, len(c.shards), tt.want)
		}
	}
}
