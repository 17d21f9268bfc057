package lru

import (
	"math/rand/v2"
	"testing"
)

func TestGhostPutTake(t *testing.T) {
	var g ghost
	g.putLocked(1, 3, 0) // there is no room yet
	if g.takeLocked(1, 0) != 0 {
		t.Error("a ghost without sets knows a key")
	}
	g.resizeLocked(1000)
	rng := rand.New(rand.NewPCG(1, 1))
	hashes := make([]uint32, 1000)
	for i := range hashes {
		hashes[i] = rng.Uint32()
		g.putLocked(hashes[i], uint32(1+i%15), 0)
	}
	g.putLocked(^hashes[0], 0, 0) // a count of zero says nothing
	if n := g.takeLocked(^hashes[0], 0); n != 0 {
		t.Errorf("a key that was not used has the count %d", n)
	}
	wrong := 0
	for i, h := range hashes {
		if n := g.takeLocked(h, 0); n != uint32(1+i%15) {
			wrong++
		}
		if n := g.takeLocked(h, 0); n != 0 {
			wrong++
		}
	}
	if wrong > 5 { // two keys with the same set and fingerprint
		t.Errorf("%d of 1000 answers are wrong", wrong)
	}
}

// Of keys that it has never seen a full ghost takes one in 512 for one that it has:
// eight lanes of 12 bits.
func TestGhostTellsApart(t *testing.T) {
	var g ghost
	g.resizeLocked(1000)
	rng := rand.New(rand.NewPCG(4, 4))
	for range 20_000 {
		g.putLocked(rng.Uint32(), 1, 0)
	}
	known := uint32(0)
	for range 20_000 {
		known += g.takeLocked(rng.Uint32(), 0)
	}
	if known > 60 {
		t.Errorf("%d of 20000 keys are taken for others", known)
	}
}

func TestGhostAges(t *testing.T) {
	for _, tt := range []struct {
		put, take uint8
		want      uint32
	}{{0, 0, 13}, {0, 1, 6}, {0, 2, 3}, {0, 3, 1}, {0, 4, 0}, {0, 200, 0}, {255, 0, 6}, {254, 1, 1}, {100, 100, 13}} {
		var g ghost
		g.resizeLocked(1)
		g.putLocked(7, 13, tt.put)
		if n := g.takeLocked(7, tt.take); n != tt.want {
			t.Errorf("13 put in epoch %d is %d in epoch %d, want %d", tt.put, n, tt.take, tt.want)
		}
	}
}

// A full set forgets the one of its oldest four that was used least, and what
// ages to zero first of all.
func TestGhostForgetsTheLeastOfTheOldest(t *testing.T) {
	var g ghost
	g.resizeLocked(1)
	for i, n := range []uint32{5, 4, 3, 4, 1, 1, 1, 1} {
		g.putLocked(uint32(i+1), n, 0)
	}
	g.putLocked(20, 1, 0) // in place of the 3; not of a 1, which is younger
	if g.takeLocked(3, 0) != 0 {
		t.Error("the least used of the oldest four is still there")
	}
	g.putLocked(21, 9, 0)  // there is room
	g.putLocked(22, 15, 1) // the ones are zero now
	for i, want := range map[uint32]uint32{1: 2, 2: 2, 4: 2, 5: 0, 6: 0, 7: 0, 8: 0, 20: 0, 21: 4, 22: 15} {
		if n := g.takeLocked(i, 1); n != want {
			t.Errorf("key %d has the count %d, want %d", i, n, want)
		}
	}
}

// Most of what a ghost holds is still there when it has got the size for a shard
// that has grown or shrunk by a quarter.
func TestGhostResizeKeepsMost(t *testing.T) {
	for _, to := range []int{1250, 2000, 1000, 800, 750} {
		var g ghost
		g.resizeLocked(1000)
		rng := rand.New(rand.NewPCG(2, 2))
		hashes := make([]uint32, 1000)
		for i := range hashes {
			hashes[i] = rng.Uint32()
			g.putLocked(hashes[i], 9, 3)
		}
		g.resizeLocked(to)
		kept := 0
		for _, h := range hashes {
			if g.takeLocked(h, 3) == 9 {
				kept++
			}
		}
		t.Logf("%d entries to %d: %d of 1000 are kept", 1000, to, kept)
		if kept < 650 {
			t.Errorf("%d entries to %d: only %d of 1000 are kept", 1000, to, kept)
		}
	}
}
