terraform {
  required_version = ">= 1.5"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.31"
    }
  }

  # The state is a file beside this one. Where several people deploy, keep it in S3:
  #
  #   backend "s3" {
  #     bucket         = "..."
  #     key            = "geecache.tfstate"
  #     region         = "us-west-2"
  #     encrypt        = true
  #     dynamodb_table = "..." # the lock
  #   }
}
