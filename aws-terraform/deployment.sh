# What the scripts of this directory share; they source it.
# shellcheck shell=bash
set -euo pipefail
caller=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"
export AWS_PAGER="" TF_IN_AUTOMATION=1

say() { printf '\n== %s\n' "$*"; }
die() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

vars=$(cat .last-vars 2>/dev/null || true) # the file of variables of the last run
yes=

# use_vars FILE: the variables of this run and of later ones. FILE is as the caller names
# it, in his own directory.
use_vars() {
  local file=$1
  [[ $file == /* ]] || file=$caller/$file
  [ -f "$file" ] || die "there is no file $file: name one such as $PWD/examples/learner_lab.tfvars"
  vars=$(cd "$(dirname "$file")" && pwd)/$(basename "$file")
  printf '%s\n' "$vars" >.last-vars
}

# tf COMMAND...: terraform with those variables.
tf() {
  local command=$1
  shift
  terraform "$command" -input=false -no-color ${vars:+-var-file="$vars"} "$@"
}

# output NAME: of an output.
output() { terraform output -raw "$1"; }
tfdeploy() { go run ./cmd/tfdeploy "$@"; }
geecache() { go run .. "$@"; }

confirm() {
  [ -z "$yes" ] || return 0
  [ -t 0 ] || die "nobody is there to ask: say --yes"
  read -r -p "$1 [y/N] " answer
  [ "$answer" = y ] || die "stopped: nothing was changed"
}

need() {
  local tool
  for tool in "$@"; do
    command -v "$tool" >/dev/null || die "$tool is needed: install it first"
  done
}

# credentials: says at once, and in plain words, what is wrong with them.
credentials() {
  local said
  if said=$(aws sts get-caller-identity --query Account --output text 2>&1); then
    export account=$said
    return
  fi
  case $said in
  *ExpiredToken* | *"expired"*)
    die "the credentials have expired. In a Learner Lab a session lasts 4 hours: start it again, and copy AWS Details > AWS CLI into ~/.aws/credentials. Elsewhere: aws sso login."
    ;;
  *"Unable to locate credentials"* | *NoCredentials*)
    die "there are no credentials: aws configure, aws sso login, or in a Learner Lab copy AWS Details > AWS CLI into ~/.aws/credentials"
    ;;
  *InvalidClientTokenId* | *SignatureDoesNotMatch* | *UnrecognizedClient*)
    die "AWS does not know these credentials: were all three lines copied (key, secret and, in a Learner Lab, the session token)?"
    ;;
  *) die "AWS cannot be asked who you are: $said" ;;
  esac
}

# prepare: Terraform, and the variables that the scripts go by.
prepare() {
  local all
  terraform init -input=false >/dev/null
  # Asked once, on one line: each question loads the provider. The last line is the answer.
  all=$(echo 'join(" ", [var.region, var.name, coalesce(var.image, "-"), var.architecture, var.node_count, var.api_count, var.deletion_protection])' |
    terraform console ${vars:+-var-file="$vars"} | tail -n 1 | tr -d '"')
  read -r region name image architecture node_count api_count deletion_protection <<<"$all"
  [ -n "${deletion_protection:-}" ] || die "the variables cannot be read: terraform validate says why"
  export AWS_REGION="$region" AWS_DEFAULT_REGION="$region" name image architecture node_count api_count
}

api_token() {
  aws secretsmanager get-secret-value --secret-id "$name/api-token" --query SecretString --output text
}

# desired SERVICE: how many tasks a service is to have.
desired() {
  aws ecs describe-services --cluster "$(output cluster)" --services "$1" --query 'services[0].desiredCount' --output text
}

# await_nodes: until every node answers, or why not. ECS is asked first, for after a
# rollback it is the tasks of before that answer.
await_nodes() {
  local nodes role running
  nodes=$(desired "$name-node")
  if aws ecs wait services-stable --cluster "$name" --services "$name-node" "$name-api"; then
    running=$(aws ecs describe-services --cluster "$name" --services "$name-node" "$name-api" --query 'sort(services[].taskDefinition)' --output text)
    if [ "$running" != "$(output task_definitions)" ]; then
      say "ECS has rolled back to $running" >&2
    elif GEECACHE_API_TOKEN=$(api_token) tfdeploy wait -url "$(output url)" -nodes "$nodes" -timeout 5m; then
      return
    fi
  fi
  for role in node api; do
    say "what ECS says of $name-$role" >&2
    aws ecs describe-services --cluster "$name" --services "$name-$role" --query 'services[0].events[:5].message' --output text >&2
    say "its last lines" >&2
    aws logs tail "/geecache/$name/$role" --since 15m --format short 2>/dev/null | tail -20 >&2 || true
  done
  die "the deployment does not answer. If nothing above says why: does allowed_cidrs admit this machine?"
}

# leftovers: what AWS holds of this deployment.
leftovers() {
  aws resourcegroupstaggingapi get-resources --tag-filters "Key=geecache-deployment,Values=$name" --output json
}
