// Package s3 keeps snapshots as objects of a bucket of Amazon S3, or of what speaks its
// API. It makes no bucket and sets no lifecycle: that is for who owns the bucket.
package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"github.com/geecache/geecache/internal/awsapi"
	"github.com/geecache/geecache/snapshot"
)

// A Config says which bucket a [Storage] is in. Only Bucket is required. It holds no
// credentials: those come from where the AWS SDK looks for them.
type Config struct {
	Bucket string
	Prefix string // of all names, without a '/' at its ends

	// Region is the bucket's. Default: that of the environment.
	Region string

	// Endpoint is the address of another server than AWS's, as a http:// or https://
	// URL. Default: that of the environment (AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL).
	Endpoint string
}

var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

// Validate returns an error that names the field that is wrong.
func (c Config) Validate() error {
	if !bucketName.MatchString(c.Bucket) {
		return fmt.Errorf("s3: Bucket: %q is no bucket's name, which has 3 to 63 lower-case letters, digits, '.' and '-'", c.Bucket)
	}
	if c.Endpoint != "" {
		u, err := url.Parse(c.Endpoint)
		if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
			return errors.New("s3: Endpoint: is no http:// or https:// URL")
		}
	}
	return nil
}

// ParseURL reads a Config from its URL form, s3://bucket/prefix, with the parameters
// region and endpoint.
func ParseURL(raw string) (Config, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "s3" || u.User != nil || u.Fragment != "" || u.Port() != "" {
		return Config{}, errors.New("s3: write s3://bucket/prefix")
	}
	params, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return Config{}, fmt.Errorf("s3: URL: %w", err)
	}
	cfg := Config{Bucket: u.Host, Prefix: strings.Trim(u.Path, "/")}
	for name, values := range params {
		switch value := values[len(values)-1]; name {
		case "region":
			cfg.Region = value
		case "endpoint":
			cfg.Endpoint = value
		default:
			return Config{}, fmt.Errorf("s3: there is no parameter %q: there are region and endpoint", name)
		}
	}
	return cfg, cfg.Validate()
}

// A Storage keeps objects in a bucket. It is safe for concurrent use.
type Storage struct {
	cfg       Config
	client    *s3.Client
	closeIdle func()
}

var _ snapshot.Storage = (*Storage)(nil)

// Open returns a storage in a bucket. It does not look whether there is one.
func Open(ctx context.Context, cfg Config) (*Storage, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	ac, closeIdle, err := awsapi.Load(ctx, cfg.Region, cfg.Endpoint, "S3")
	if err != nil {
		return nil, fmt.Errorf("s3: %w", err)
	}
	client := s3.NewFromConfig(ac, func(o *s3.Options) {
		if cfg.Endpoint != "" {
			o.BaseEndpoint = &cfg.Endpoint
		}
		// The name of a bucket of an emulator stands in the path: its host has no
		// others before it.
		o.UsePathStyle = o.BaseEndpoint != nil
		// Blocks of snapshots have checksums, and not all servers take those of the API.
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) { o.MaxBackoff = time.Second })
	})
	return &Storage{cfg: cfg, client: client, closeIdle: closeIdle}, nil
}

// Close closes the connections that wait for the next call.
func (s *Storage) Close() error {
	s.closeIdle()
	return nil
}

func (s *Storage) key(name string) string {
	if s.cfg.Prefix == "" {
		return name
	}
	return s.cfg.Prefix + "/" + name
}

// List implements snapshot.Reading.
func (s *Storage) List(ctx context.Context, dir string) (names []string, err error) {
	prefix := s.key(dir + "/")
	pages := s3.NewListObjectsV2Paginator(s.client, &s3.ListObjectsV2Input{Bucket: &s.cfg.Bucket, Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, s.explain("list", err, "s3:ListBucket")
		}
		for _, o := range page.Contents {
			names = append(names, dir+"/"+strings.TrimPrefix(aws.ToString(o.Key), prefix))
		}
	}
	return names, nil
}

// Open implements snapshot.Reading. The content is what the server has sent; a
// connection that breaks meanwhile is an error of Read.
func (s *Storage) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.cfg.Bucket, Key: aws.String(s.key(name))})
	var none *types.NoSuchKey
	if errors.As(err, &none) {
		return nil, fmt.Errorf("s3: %s: %w: %w", name, fs.ErrNotExist, err)
	}
	if err != nil {
		return nil, s.explain("get", err, "s3:GetObject")
	}
	return out.Body, nil
}

// Put implements snapshot.Writing.
func (s *Storage) Put(ctx context.Context, name string, data []byte) error {
	_, err := s.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &s.cfg.Bucket, Key: aws.String(s.key(name)), Body: bytes.NewReader(data), ContentLength: aws.Int64(int64(len(data))),
	})
	return s.explain("put", err, "s3:PutObject")
}

// Delete implements snapshot.Writing.
func (s *Storage) Delete(ctx context.Context, name string) error {
	_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.cfg.Bucket, Key: aws.String(s.key(name))})
	return s.explain("delete", err, "s3:DeleteObject")
}

// explain says what a refusal means.
func (s *Storage) explain(what string, err error, permission string) error {
	var refusal smithy.APIError // PutObject and DeleteObject have no type of their own for it
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refusal) && refusal.ErrorCode() == "NoSuchBucket":
		return fmt.Errorf("s3: there is no bucket %q: make it, or name another one: %w", s.cfg.Bucket, err)
	}
	return fmt.Errorf("s3: %s: %w", what, awsapi.Explain(err, permission))
}
