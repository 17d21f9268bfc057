// Package dynamodb is a source that reads each value as one item of an Amazon
// DynamoDB table. It only reads, and only items that a partition key alone
// names.
package dynamodb

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/geecache/geecache/geecache"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// ErrClosed is what Get returns once Close has been called.
var ErrClosed = errors.New("dynamodb: source is closed")

// A Source is a [geecache.Getter] that reads items of a table. Its methods are
// safe for concurrent use.
//
// A string is its UTF-8 text, a binary value its bytes, a number its decimal
// text. An item without the value's attribute, or with a null there, has no
// value: not found. So is an item that has expired, which DynamoDB may keep
// for days more, and a key that the table cannot hold: the empty one, one of
// more than 2048 bytes, one that is not UTF-8 for a string, or no number for a
// number. Two texts of one number (1 and 1.0) are one key of a table of
// numbers.
type Source struct {
	cfg    Config
	client *dynamodb.Client
	now    func() time.Time

	open      context.Context // ends with Close
	end       context.CancelFunc
	closeOnce sync.Once
}

// Open returns a Source of the table, which it checks unless the KeyType is
// given. The context bounds only the opening.
func Open(ctx context.Context, cfg Config) (*Source, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	client, err := newClient(ctx, cfg)
	if err != nil {
		return nil, err
	}
	s := &Source{cfg: cfg, client: client, now: time.Now}
	if cfg.KeyType == "" {
		if s.cfg.KeyType, err = s.describe(ctx); err != nil {
			return nil, fmt.Errorf("dynamodb: open table %s: %w", cfg.Table, err)
		}
	}
	s.open, s.end = context.WithCancel(context.WithoutCancel(ctx))
	return s, nil
}

func newClient(ctx context.Context, cfg Config) (*dynamodb.Client, error) {
	options := []func(*awsconfig.LoadOptions) error{awsconfig.WithRetryer(newRetryer)}
	if cfg.Region != "" {
		options = append(options, awsconfig.WithRegion(cfg.Region))
	}
	if cfg.isLocal() {
		// Do not look for credentials at an address that only EC2 has.
		options = append(options, awsconfig.WithEC2IMDSClientEnableState(imds.ClientDisabled))
	}
	ac, err := awsconfig.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("dynamodb: AWS configuration: %w", err)
	}
	if ac.Region == "" {
		if cfg.Endpoint == "" {
			return nil, errors.New("dynamodb: Region: is neither given nor in the environment; give for example eu-central-1")
		}
		ac.Region = "us-east-1"
	}
	if cfg.isLocal() {
		if _, err := ac.Credentials.Retrieve(ctx); err != nil {
			ac.Credentials = credentials.NewStaticCredentialsProvider("local", "local", "")
		}
	}
	return dynamodb.NewFromConfig(ac, func(o *dynamodb.Options) {
		if cfg.Endpoint != "" {
			o.BaseEndpoint = aws.String(cfg.Endpoint)
		}
	}), nil
}

// newRetryer replaces a connection that had died in the pool, once. Whether to
// repeat what the table refused is the cache's decision.
func newRetryer() aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = 2
		o.MaxBackoff = time.Millisecond
		o.Retryables = []retry.IsErrorRetryable{retry.NoRetryCanceledError{}, retry.RetryableConnectionError{}}
	})
}

// describe checks the table's key and returns its type.
func (s *Source) describe(ctx context.Context) (string, error) {
	out, err := s.client.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &s.cfg.Table})
	if err != nil {
		return "", err
	}
	for _, k := range out.Table.KeySchema {
		if k.KeyType == types.KeyTypeRange {
			return "", fmt.Errorf("has a sort key, %q; a source needs a table with a partition key alone", aws.ToString(k.AttributeName))
		}
		if name := aws.ToString(k.AttributeName); name != s.cfg.KeyAttribute {
			return "", fmt.Errorf("its key is %q, not %q; set KeyAttribute", name, s.cfg.KeyAttribute)
		}
	}
	for _, a := range out.Table.AttributeDefinitions {
		if aws.ToString(a.AttributeName) == s.cfg.KeyAttribute {
			return string(a.AttributeType), nil
		}
	}
	return "", fmt.Errorf("does not tell the type of its key %q; set KeyType", s.cfg.KeyAttribute)
}

// Get reads the item of key. It returns an error that wraps
// [geecache.ErrNotFound] if there is no value, and [geecache.ErrLoadTimeout] if
// the table did not answer within the Timeout. The value's TTL is what is left
// of the item's life.
func (s *Source) Get(ctx context.Context, key string) (geecache.Value, error) {
	if s.open.Err() != nil {
		return geecache.Value{}, ErrClosed
	}
	getCtx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	stop := context.AfterFunc(s.open, cancel)
	defer stop()

	value, err := s.get(getCtx, key)
	switch {
	case err == nil:
		return value, nil
	case errors.Is(err, geecache.ErrNotFound):
		return geecache.Value{}, fmt.Errorf("dynamodb: %w", geecache.ErrNotFound)
	case s.open.Err() != nil:
		return geecache.Value{}, ErrClosed
	case ctx.Err() != nil:
		return geecache.Value{}, fmt.Errorf("dynamodb: %w", ctx.Err())
	case getCtx.Err() != nil:
		return geecache.Value{}, fmt.Errorf("dynamodb: no answer within %v: %w", s.cfg.Timeout, geecache.ErrLoadTimeout)
	}
	return geecache.Value{}, fmt.Errorf("dynamodb: %w", err)
}

func (s *Source) get(ctx context.Context, key string) (geecache.Value, error) {
	if err := ctx.Err(); err != nil {
		return geecache.Value{}, err
	}
	attribute, ok := keyAttribute(s.cfg.KeyType, key)
	if !ok {
		return geecache.Value{}, geecache.ErrNotFound
	}
	in := &dynamodb.GetItemInput{
		TableName:                &s.cfg.Table,
		Key:                      map[string]types.AttributeValue{s.cfg.KeyAttribute: attribute},
		ConsistentRead:           &s.cfg.ConsistentRead,
		ProjectionExpression:     aws.String("#v"),
		ExpressionAttributeNames: map[string]string{"#v": s.cfg.ValueAttribute},
	}
	if s.cfg.TTLAttribute != "" && s.cfg.TTLAttribute != s.cfg.ValueAttribute {
		in.ProjectionExpression = aws.String("#v, #t")
		in.ExpressionAttributeNames["#t"] = s.cfg.TTLAttribute
	}
	out, err := s.client.GetItem(ctx, in)
	if err != nil {
		return geecache.Value{}, err
	}
	ttl := s.lifetime(out.Item[s.cfg.TTLAttribute])
	if ttl < 0 {
		return geecache.Value{}, geecache.ErrNotFound
	}
	bytes, err := valueBytes(out.Item[s.cfg.ValueAttribute])
	if err != nil {
		return geecache.Value{}, fmt.Errorf("attribute %q %w", s.cfg.ValueAttribute, err)
	}
	return geecache.Value{Bytes: bytes, TTL: ttl}, nil
}

// valueBytes returns the bytes of an attribute, nil being one that is missing.
func valueBytes(a types.AttributeValue) ([]byte, error) {
	switch a := a.(type) {
	case *types.AttributeValueMemberS:
		return []byte(a.Value), nil
	case *types.AttributeValueMemberB:
		if a.Value == nil {
			return []byte{}, nil
		}
		return a.Value, nil
	case *types.AttributeValueMemberN:
		return []byte(a.Value), nil
	case nil, *types.AttributeValueMemberNULL:
		return nil, fmt.Errorf("is missing: %w", geecache.ErrNotFound)
	default:
		return nil, fmt.Errorf("is of the kind %T; a value is S, B or N", a)
	}
}

// lifetime returns how long the item still lives: 0 if it does not expire,
// which is also so, as for DynamoDB, if the attribute is no number; negative if
// it has expired.
func (s *Source) lifetime(a types.AttributeValue) time.Duration {
	n, ok := a.(*types.AttributeValueMemberN)
	if !ok {
		return 0
	}
	seconds, err := strconv.ParseFloat(n.Value, 64)
	if err != nil || seconds > math.MaxInt32*1000 { // further than a Duration reaches
		return 0
	}
	left := time.Unix(int64(seconds), 0).Sub(s.now())
	if left <= 0 {
		return -1
	}
	return left
}

// Close ends the reads that run, which return [ErrClosed]. It always returns
// nil.
func (s *Source) Close() error {
	s.closeOnce.Do(s.end)
	return nil
}
