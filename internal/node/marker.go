package node

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"

	"github.com/geecache/geecache/geecache"
)

// markersASecond is how many markers a second are logged.
const markersASecond = 10

// markers log lines for people who want to know whether the log arrives where it should.
type markers struct {
	log  *slog.Logger // with the node's ID in each line
	node string
	rate perSecond
}

// serve answers POST /logz?marker=ID: a line of the level INFO that has the marker. It
// says that the line is logged only if it is.
func (m *markers) serve(w http.ResponseWriter, r *http.Request) {
	id := r.URL.Query().Get("marker")
	switch {
	case !isID(id):
		refuse(w, http.StatusBadRequest, geecache.CodeBadRequest,
			"parameter \"marker\" is "+strconv.Quote(id[:min(len(id), 200)])+": use 1 to 128 letters, digits and -_.:/+=@")
		return
	case !m.log.Enabled(context.Background(), slog.LevelInfo):
		refuse(w, http.StatusConflict, geecache.CodeBadRequest, "the log has no lines of the level INFO: set --log-level info")
		return
	case !m.rate.allows(markersASecond):
		w.Header().Set("Retry-After", "1")
		refuse(w, http.StatusTooManyRequests, geecache.CodeOverloaded, "there were "+strconv.Itoa(markersASecond)+" markers in this second already")
		return
	}
	m.log.Info("marker", "marker", id)
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusOK, struct {
		Node   string `json:"node"`
		Marker string `json:"marker"`
	}{m.node, id})
}
