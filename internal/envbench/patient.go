package envbench

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// answerWithin is how long an answer is waited for when its caller is interrupted.
const answerWithin = 20 * time.Second

// A patientClient waits for the answer to what it has sent, although its caller is
// interrupted: an order comes about whether anybody waits or not, and who then removes what
// there is must not be overtaken by it. It sends nothing for a caller that was interrupted
// before.
type patientClient struct{ aws.HTTPClient }

// Do implements aws.HTTPClient.
func (p patientClient) Do(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	lasting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(answerWithin, cancel)
		context.AfterFunc(lasting, func() { timer.Stop() })
	})
	end := func() { stop(); cancel() }
	resp, err := p.HTTPClient.Do(req.WithContext(lasting))
	if err != nil {
		end()
		return nil, err
	}
	resp.Body = &patientBody{resp.Body, end}
	return resp, nil
}

// A patientBody is the answer's: its end is the call's.
type patientBody struct {
	io.ReadCloser
	end func()
}

// Close implements io.Closer.
func (b *patientBody) Close() error {
	defer b.end()
	return b.ReadCloser.Close()
}
