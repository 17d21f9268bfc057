// Package awsapi opens AWS's APIs for adapters, and says in plain words why they
// refuse. It calls none of them itself.
package awsapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/geecache/geecache/registry"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// Load returns the configuration of AWS's clients from the environment, the shared
// files and what AWS gives to tasks and instances. region and endpoint may be
// empty. service is what the environment calls the service's own endpoint:
// AWS_ENDPOINT_URL_ and this.
//
// An emulator needs neither region nor credentials: it gets made-up ones if there
// are no others. closeIdle closes the connections that wait for the next call.
func Load(ctx context.Context, region, endpoint, service string) (cfg aws.Config, closeIdle func(), err error) {
	if endpoint == "" {
		endpoint = endpointOf(service)
	}
	emulator := endpoint != "" && !isAWS(endpoint)
	options := []func(*awsconfig.LoadOptions) error{awsconfig.WithRetryer(newRetryer)}
	if region != "" {
		options = append(options, awsconfig.WithRegion(region))
	}
	if emulator {
		// Do not look for credentials at an address that only EC2 has.
		options = append(options, awsconfig.WithEC2IMDSClientEnableState(imds.ClientDisabled))
	}
	cfg, err = awsconfig.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return aws.Config{}, nil, fmt.Errorf("AWS configuration: %w", err)
	}
	if cfg.Region == "" {
		if !emulator {
			return aws.Config{}, nil, errors.New("the region is neither given nor in the environment: " +
				"set AWS_REGION, or name it, in a registry's URL as ?region=eu-central-1")
		}
		cfg.Region = "us-east-1"
	}
	cfg.Credentials = &provider{cfg.Credentials, emulator}
	// Its own lines would have another form than the program's; what matters, calls return.
	cfg.Logger = logging.LoggerFunc(func(_ logging.Classification, format string, v ...any) {
		slog.Debug(fmt.Sprintf(format, v...), "of", "AWS's SDK")
	})
	closeIdle = func() {}
	if b, ok := cfg.HTTPClient.(*awshttp.BuildableClient); ok {
		t := b.GetTransport() // a copy: the client's own cannot be had
		cfg.HTTPClient, closeIdle = &http.Client{Transport: t, CheckRedirect: stay}, t.CloseIdleConnections
	}
	return cfg, closeIdle, nil
}

// stay follows no redirection: an API has none, and what is signed is for one host.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// endpointOf returns the endpoint that the environment gives, as the SDK reads it.
func endpointOf(service string) string {
	if os.Getenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS") == "true" {
		return ""
	}
	if s := os.Getenv("AWS_ENDPOINT_URL_" + service); s != "" {
		return s
	}
	return os.Getenv("AWS_ENDPOINT_URL")
}

// WithoutHostPrefix has a client put nothing before an endpoint's host, as the SDK does for
// some calls: such hosts exist only at AWS.
func WithoutHostPrefix(stack *middleware.Stack) error {
	return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("WithoutHostPrefix",
		func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
			return next.HandleInitialize(smithyhttp.DisableEndpointHostPrefix(ctx, true), in)
		}), middleware.Before)
}

// isAWS reports whether an endpoint is AWS's own, such as one of a VPC.
func isAWS(endpoint string) bool {
	u, err := url.Parse(endpoint)
	if err != nil {
		return false
	}
	for _, domain := range []string{".amazonaws.com", ".amazonaws.com.cn", ".api.aws"} {
		if strings.HasSuffix(u.Hostname(), domain) {
			return true
		}
	}
	return false
}

// newRetryer replaces a connection that had died in the pool, once. All else is
// repeated by who polls: it knows how long to wait.
func newRetryer() aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = 2
		o.MaxBackoff = time.Millisecond
		o.Retryables = []retry.IsErrorRetryable{retry.NoRetryCanceledError{}, retry.RetryableConnectionError{}}
	})
}

// A provider gives credentials, and says what to do if there are none.
type provider struct {
	aws.CredentialsProvider
	emulator bool
}

func (p *provider) Retrieve(ctx context.Context) (aws.Credentials, error) {
	c, err := p.CredentialsProvider.Retrieve(ctx)
	switch {
	case err == nil:
		return c, nil
	case p.emulator && ctx.Err() == nil:
		return credentials.NewStaticCredentialsProvider("local", "local", "").Retrieve(ctx)
	}
	return c, fmt.Errorf("no AWS credentials: give the task a role, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "+
		"or AWS_PROFILE: %w", err)
}

// Explain says what an API's refusal means and what to do about it. permission is
// the action that the call needs, such as ecs:ListTasks. What it does not know it
// returns as it is.
func Explain(err error, permission string) error {
	var refusal smithy.APIError
	if err == nil || !errors.As(err, &refusal) {
		return err
	}
	code := refusal.ErrorCode()
	if _, throttled := retry.DefaultThrottleErrorCodes[code]; throttled {
		return &registry.ThrottledError{Err: err}
	}
	switch code {
	case "AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError":
		return fmt.Errorf("the permission %s is missing: allow it in a policy of the role (of a task: the task role) or user: %w", permission, err)
	case "ExpiredToken", "ExpiredTokenException", "RequestExpired":
		return fmt.Errorf("the AWS credentials have expired: renew them (in a Learner Lab, start the session again), "+
			"or give the task a role, whose credentials are renewed by themselves: %w", err)
	case "UnrecognizedClientException", "InvalidClientTokenId", "InvalidAccessKeyId", "SignatureDoesNotMatch", "IncompleteSignature", "InvalidSignatureException":
		return fmt.Errorf("AWS does not know the credentials: check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, "+
			"and that the clock is right: %w", err)
	}
	return err
}

// IsUnsupported reports whether an API does not know the operation, as emulators
// may not.
func IsUnsupported(err error) bool {
	var refusal smithy.APIError
	if !errors.As(err, &refusal) {
		return false
	}
	switch refusal.ErrorCode() {
	case "UnknownOperation", "UnknownOperationException", "InvalidAction", "NotImplemented", "NotImplementedException", "UnsupportedOperation":
		return true
	}
	return false
}

// IsDenied reports whether a permission is missing.
func IsDenied(err error) bool {
	var refusal smithy.APIError
	return errors.As(err, &refusal) && strings.HasPrefix(refusal.ErrorCode(), "AccessDenied")
}
