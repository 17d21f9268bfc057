# A key of the deployment's own for what is kept.

variable "name" { type = string }
variable "region" { type = string }
variable "account_id" { type = string }
variable "partition" { type = string }

data "aws_iam_policy_document" "main" {
  #checkov:skip=CKV_AWS_111:a policy of a key speaks of that key alone, which is what * means here
  #checkov:skip=CKV_AWS_356:a policy of a key speaks of that key alone, which is what * means here
  #checkov:skip=CKV_AWS_109:without the account itself nobody could manage the key any more
  # Without this the account's own policies would mean nothing here, and the key
  # could not be managed any more.
  statement {
    sid       = "Account"
    actions   = ["kms:*"]
    resources = ["*"]

    principals {
      type        = "AWS"
      identifiers = ["arn:${var.partition}:iam::${var.account_id}:root"]
    }
  }

  statement {
    sid       = "Logs"
    actions   = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]
    resources = ["*"]

    principals {
      type        = "Service"
      identifiers = ["logs.${var.region}.amazonaws.com"]
    }

    condition {
      test     = "ArnLike"
      variable = "kms:EncryptionContext:aws:logs:arn"
      values   = ["arn:${var.partition}:logs:${var.region}:${var.account_id}:log-group:*"]
    }
  }

  statement {
    sid       = "Alarms"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey*"]
    resources = ["*"]

    principals {
      type        = "Service"
      identifiers = ["cloudwatch.amazonaws.com", "budgets.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [var.account_id]
    }
  }
}

resource "aws_kms_key" "main" {
  description             = "GeeCache ${var.name}"
  enable_key_rotation     = true
  deletion_window_in_days = 7
  policy                  = data.aws_iam_policy_document.main.json
  tags                    = { Name = var.name }
}

resource "aws_kms_alias" "main" {
  name          = "alias/${var.name}"
  target_key_id = aws_kms_key.main.key_id
}

output "arn" { value = aws_kms_key.main.arn }
