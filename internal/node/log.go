package node

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"sync/atomic"
)

// NewLogger returns a logger that writes JSON, each line with the cluster and the node
// that it is of: lines of many nodes end up in one place. node is what is known of the
// ID; Start puts the true one in its place.
func NewLogger(w io.Writer, level slog.Leveler, cluster, node string) *slog.Logger {
	h := &identified{Handler: slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}), who: new(atomic.Pointer[identity])}
	h.who.Store(&identity{cluster, node})
	return slog.New(h)
}

type identity struct{ cluster, node string }

// identify tells a logger of NewLogger who it is that logs. Others stay as they are.
func identify(log *slog.Logger, cluster, node string) {
	if h, ok := log.Handler().(*identified); ok {
		h.who.Store(&identity{cluster, node})
	}
}

// An identified adds to each record whose it is.
type identified struct {
	slog.Handler
	who   *atomic.Pointer[identity] // shared with those that have more attributes
	named bool                      // the attributes have the node already
}

// Handle implements slog.Handler.
func (h *identified) Handle(ctx context.Context, r slog.Record) error {
	who := h.who.Load()
	r = r.Clone()
	r.AddAttrs(slog.String("cluster", who.cluster))
	if !h.named {
		r.AddAttrs(slog.String("node", who.node))
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h *identified) WithAttrs(attrs []slog.Attr) slog.Handler {
	named := h.named || slices.ContainsFunc(attrs, func(a slog.Attr) bool { return a.Key == "node" })
	return &identified{h.Handler.WithAttrs(attrs), h.who, named}
}

// WithGroup implements slog.Handler. In a group the cluster and the node are its
// members.
func (h *identified) WithGroup(name string) slog.Handler {
	return &identified{h.Handler.WithGroup(name), h.who, h.named}
}
