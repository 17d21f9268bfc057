package node

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestMarkersAreLogged(t *testing.T) {
	var out text
	level := new(slog.LevelVar)
	cfg := Config{
		Cluster: "c1", ID: "n1", Listen: "127.0.0.1:0", APIListen: "127.0.0.1:0", Source: "slowdb:?latency=0s",
		Secret: "0123456789abcdef0123", Logger: NewLogger(&out, level, "c1", "starting"),
	}
	p, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Stop(t.Context()) }()
	resp, err := http.Post("http://"+p.node.Addr()+"/logz?marker=stranger", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized || strings.Contains(out.String(), "stranger") {
		t.Errorf("who proves nothing gets %s, and perhaps a line in the log", resp.Status)
	}

	ask := func(method, query string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(method, "/logz?"+query, nil)
		if h := (handler{p: p}); allow(w, r, http.MethodPost) {
			h.operators("/logz")(w, r)
		}
		return w
	}
	for _, c := range []struct {
		method, query, says string
		status              int
	}{
		{http.MethodPost, "marker=run-1", `{"node":"n1","marker":"run-1"}`, http.StatusOK},
		{http.MethodGet, "marker=get", "use POST", http.StatusMethodNotAllowed},
		{http.MethodPost, "", "use 1 to 128 letters", http.StatusBadRequest},
		{http.MethodPost, "marker=two%0Alines", "use 1 to 128 letters", http.StatusBadRequest},
		{http.MethodPost, "marker=" + strings.Repeat("x", 129), "use 1 to 128 letters", http.StatusBadRequest},
	} {
		w := ask(c.method, c.query)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.says) {
			t.Errorf("%s %s: %d %s, want %d %q", c.method, c.query, w.Code, w.Body, c.status, c.says)
		}
	}
	var found []map[string]any
	for _, l := range lines(t, out.String()) {
		if l["msg"] == "marker" {
			found = append(found, l)
		}
	}
	if len(found) != 1 || found[0]["marker"] != "run-1" || found[0]["node"] != "n1" || found[0]["level"] != "INFO" {
		t.Errorf("the markers in the log are %v", found)
	}

	level.Set(slog.LevelWarn)
	if w := ask(http.MethodPost, "marker=quiet"); w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), "--log-level info") {
		t.Errorf("with a log that keeps no such lines: %d %s", w.Code, w.Body)
	}
	level.Set(slog.LevelInfo)
	refused := 0
	for deadline := time.Now().Add(10 * time.Second); refused == 0 && time.Now().Before(deadline); {
		for range markersASecond + 1 { // a second may end meanwhile
			if w := ask(http.MethodPost, "marker=many"); w.Code == http.StatusTooManyRequests {
				refused++
			}
		}
	}
	if refused == 0 {
		t.Error("markers are logged without a limit")
	}
}
