package node

import (
	"context"
	"log/slog"
	"time"
)

// How often a process looks at its certificate, and how long before the end it warns: a
// certificate that lives for a year needs a week's notice, one for a day a few hours'.
const (
	lookAtCertificate = time.Minute
	warnAtMost        = 7 * 24 * time.Hour
	warnShare         = 5 // a fifth of its life
	warnAgain         = 24 * time.Hour
)

// watchCertificate warns of a certificate that is about to expire, once a day, and of one
// that has expired, until ctx ends. life returns from when until when it is valid.
func watchCertificate(ctx context.Context, log *slog.Logger, life func() (from, until time.Time)) {
	t := time.NewTicker(lookAtCertificate)
	defer t.Stop()
	var warned, told time.Time // when it was warned, and the end of what was told to have expired
	for {
		from, until := life()
		switch left := time.Until(until); {
		case left <= 0 && !until.Equal(told):
			told = until
			log.Error("this process's certificate has expired, and others refuse it: put another in its place (--tls-cert, --tls-key)", "expired", until)
		case left > 0 && left < min(warnAtMost, until.Sub(from)/warnShare) && time.Since(warned) >= warnAgain:
			warned = time.Now()
			log.Warn("this process's certificate expires soon: put another in its place (--tls-cert, --tls-key)", "expires", until, "left", left.Round(time.Minute))
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}
