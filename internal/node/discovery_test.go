package node

import (
	"os"
	"path/filepath"
	"testing"
)

// A list says the weights of all: that of each process itself too.
func TestWeightsInAListMakeOneRing(t *testing.T) {
	list := filepath.Join(t.TempDir(), "peers.json")
	text := `[{"id": "a", "addr": "127.0.0.1:1", "weight": 2}, {"id": "b", "addr": "127.0.0.1:2", "weight": 3}]`
	if err := os.WriteFile(list, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var epochs []string
	for _, id := range []string{"a", "b"} {
		st := start(t, Config{ID: id, Registry: "file:" + list}).Node().Stats()
		epochs = append(epochs, st.Epoch)
		if len(st.Peers) != 2 || st.Peers[0].Weight != 2 || st.Peers[1].Weight != 3 {
			t.Errorf("the view of %s is %+v", id, st.Peers)
		}
	}
	if epochs[0] != epochs[1] {
		t.Errorf("the rings differ: %v", epochs)
	}
}
