# Where nodes keep snapshots of their hottest entries, from which the next ones
# start warm. It is a cache's backup: what it loses can be loaded again.

variable "name" { type = string }
variable "days" { type = number }
variable "key_arn" { type = string }
variable "force_delete" { type = bool }

resource "aws_s3_bucket" "main" {
  #checkov:skip=CKV_AWS_18:only roles of this deployment may read it, and CloudTrail tells of them
  #checkov:skip=CKV2_AWS_62:nobody waits for a snapshot
  #checkov:skip=CKV_AWS_144:what a cache loses it loads again: a snapshot in another region is worth nothing
  #checkov:skip=CKV_AWS_145:with own_key it is under a key of the deployment; without, under one of AWS
  #checkov:skip=CKV_AWS_19:it is: see aws_s3_bucket_server_side_encryption_configuration, whose algorithm is known when the key is
  bucket        = var.name
  force_destroy = var.force_delete
}

resource "aws_s3_bucket_public_access_block" "main" {
  bucket                  = aws_s3_bucket.main.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "main" {
  bucket = aws_s3_bucket.main.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "main" {
  bucket = aws_s3_bucket.main.id

  rule {
    bucket_key_enabled = var.key_arn != null

    apply_server_side_encryption_by_default {
      sse_algorithm     = var.key_arn == null ? "AES256" : "aws:kms"
      kms_master_key_id = var.key_arn
    }
  }
}

# A torn or poisoned snapshot must not be the only one.
resource "aws_s3_bucket_versioning" "main" {
  bucket = aws_s3_bucket.main.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "main" {
  bucket = aws_s3_bucket.main.id

  rule {
    id     = "expire"
    status = "Enabled"

    filter {}

    expiration {
      days = var.days
    }

    noncurrent_version_expiration {
      noncurrent_days = 2
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }

  depends_on = [aws_s3_bucket_versioning.main]
}

data "aws_iam_policy_document" "tls" {
  statement {
    sid       = "TLSOnly"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [aws_s3_bucket.main.arn, "${aws_s3_bucket.main.arn}/*"]

    principals {
      type        = "AWS"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_s3_bucket_policy" "main" {
  bucket = aws_s3_bucket.main.id
  policy = data.aws_iam_policy_document.tls.json

  depends_on = [aws_s3_bucket_public_access_block.main]
}

output "bucket" { value = aws_s3_bucket.main.bucket }
output "arn" { value = aws_s3_bucket.main.arn }
