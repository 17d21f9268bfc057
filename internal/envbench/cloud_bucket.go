package envbench

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
)

// bucketTag marks a bucket that was made for a deployment: its value is the deployment's
// name. Only such a bucket is removed.
const bucketTag = "geecache.deployment"

// bucketOf returns the bucket of the environment that a deployment's snapshots are in;
// empty: they are in none, or on a server that the URL names.
func bucketOf(d Deployment) string {
	u, err := url.Parse(d.snapshot())
	if err != nil || u.Scheme != "s3" || u.Query().Has("endpoint") {
		return ""
	}
	return u.Host
}

// ensureBucket makes the bucket of the snapshots, unless there is one: in an emulator
// nobody else has made it.
func (c *cloud) ensureBucket(ctx context.Context, d Deployment, changed *[]string) error {
	bucket := bucketOf(d)
	if bucket == "" {
		return nil
	}
	err := fresh(changed, "bucket "+bucket, func() (bool, error) { return c.hasBucket(ctx, bucket) }, func() error {
		in := &s3.CreateBucketInput{Bucket: &bucket}
		if c.Region != "us-east-1" { // which S3 wants not to be named
			in.CreateBucketConfiguration = &s3types.CreateBucketConfiguration{LocationConstraint: s3types.BucketLocationConstraint(c.Region)}
		}
		if _, err := c.s3.CreateBucket(ctx, in); err != nil {
			return err
		}
		_, err := c.s3.PutBucketTagging(ctx, &s3.PutBucketTaggingInput{Bucket: &bucket, Tagging: &s3types.Tagging{
			TagSet: []s3types.Tag{{Key: aws.String(bucketTag), Value: &d.Name}},
		}})
		return err
	})
	return c.explain("s3:CreateBucket", err)
}

func (c *cloud) hasBucket(ctx context.Context, bucket string) (bool, error) {
	_, err := c.s3.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &bucket})
	var none *s3types.NotFound
	if errors.As(err, &none) {
		return false, nil
	}
	return err == nil, err
}

// bucketsOf returns the buckets that were made for a deployment.
func (c *cloud) bucketsOf(ctx context.Context, name string) (all []string, err error) {
	pages := s3.NewListBucketsPaginator(c.s3, &s3.ListBucketsInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, c.explain("s3:ListBuckets", err)
		}
		for _, b := range page.Buckets {
			tags, err := c.s3.GetBucketTagging(ctx, &s3.GetBucketTaggingInput{Bucket: b.Name})
			if isNone(err) { // no tags, or no bucket any more
				continue
			}
			if err != nil {
				return nil, c.explain("s3:GetBucketTagging", err)
			}
			if slices.ContainsFunc(tags.TagSet, func(t s3types.Tag) bool { return aws.ToString(t.Key) == bucketTag && aws.ToString(t.Value) == name }) {
				all = append(all, aws.ToString(b.Name))
			}
		}
	}
	return all, nil
}

// isNone reports whether S3 says that it does not have what it was asked for.
func isNone(err error) bool {
	var refusal smithy.APIError // most of them have no type of their own
	return errors.As(err, &refusal) && strings.HasPrefix(refusal.ErrorCode(), "NoSuch")
}

// removeBuckets removes the buckets that were made for a deployment, with all that is in
// them.
func (c *cloud) removeBuckets(ctx context.Context, name string) error {
	buckets, err := c.bucketsOf(ctx, name)
	if err != nil {
		return err
	}
	for _, bucket := range buckets {
		if err := c.removeBucket(ctx, bucket); err != nil {
			return err
		}
	}
	return nil
}

// removeBucket removes a bucket with all that is in it.
func (c *cloud) removeBucket(ctx context.Context, bucket string) error {
	pages := s3.NewListObjectsV2Paginator(c.s3, &s3.ListObjectsV2Input{Bucket: &bucket})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return c.explain("s3:ListBucket", err)
		}
		for _, o := range page.Contents {
			if _, err := c.s3.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: o.Key}); err != nil {
				return c.explain("s3:DeleteObject", err)
			}
		}
	}
	if _, err := c.s3.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &bucket}); err != nil && !isNone(err) {
		return c.explain("s3:DeleteBucket", err)
	}
	return nil
}
