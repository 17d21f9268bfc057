#!/usr/bin/env bash
# Builds the image, pushes it, applies, and returns when every node really answers.
# Run again it is an update; with nothing new it changes nothing.
#
#   ./deploy.sh [--vars FILE.tfvars] [--yes] [--restart] [--destroy-after 4h]
#
#   --vars           variables, such as examples/learner_lab.tfvars; later runs remember them
#   --yes            do not ask
#   --restart        also start each task anew, after a change of a secret
#   --destroy-after  destroy everything after a time (s, m, h), as long as this machine runs
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=deployment.sh
. "$(dirname "${BASH_SOURCE[0]}")/deployment.sh"

restart='' after=''
while (($#)); do
  case $1 in
  --vars) use_vars "${2:?--vars needs a file}" && shift ;;
  --yes) yes=1 ;;
  --restart) restart=1 ;;
  --destroy-after) after=${2:?--destroy-after needs a time} && shift ;;
  *) die "there is no option $1: there are --vars, --yes, --restart and --destroy-after" ;;
  esac
  shift
done
[ -z "$after" ] || [[ $after =~ ^[0-9]+[smh]$ ]] || die "--destroy-after is $after: use a time such as 90m or 4h"

need terraform aws docker go git
credentials
prepare

# Tags are immutable: what was changed since the commit is part of the tag.
tag=$(git rev-parse --short=12 HEAD)
changes=$(git status --porcelain -- .. ':!.' && git diff HEAD -- .. ':!.')
[ -z "$changes" ] || tag+=-$(printf '%s' "$changes" | sha256sum | cut -c1-12)
export TF_VAR_image_tag=$tag

say "account $account, $region, image $tag: what changes, and what it costs"
plan=$(mktemp)
trap 'rm -f "$plan"' EXIT
tf plan -out="$plan" | sed -n '/^Plan:/p; /^No changes/p'
terraform show -json "$plan" | tfdeploy cost -region "$region"
confirm "Apply?"

say "repository and secrets"
tf apply -auto-approve -target=module.images -target=module.secrets >/dev/null
for secret in cluster-secret api-token; do
  id=$name/$secret
  # Secrets Manager draws it: it is in no state, file or argument.
  aws secretsmanager get-secret-value --secret-id "$id" --query ARN --output text >/dev/null 2>&1 ||
    aws secretsmanager get-random-password --password-length 48 --exclude-punctuation --query RandomPassword --output text |
    tr -d '\n' | aws secretsmanager put-secret-value --secret-id "$id" --secret-string file:///dev/stdin --query Name --output text
done

if [ "$image" = - ]; then
  repository=$(output repository)
  if aws ecr describe-images --repository-name "$name" --image-ids "imageTag=$tag" >/dev/null 2>&1; then
    say "the image $tag is there already"
  else
    say "image $tag"
    platform=linux/amd64
    [ "$architecture" = X86_64 ] || platform=linux/arm64
    aws ecr get-login-password | docker login --username AWS --password-stdin "${repository%%/*}" >/dev/null
    docker build --platform "$platform" --build-arg VERSION="$tag" -f ../docker-native/Dockerfile -t "$repository:$tag" ..
    docker push --quiet "$repository:$tag"
  fi
fi

say "everything else"
tf apply -auto-approve | sed -n '/^Apply complete/p'
if [ "$(output auto_scaling)" = false ]; then
  for role in node api; do # nobody else sets it
    want=$node_count
    [ "$role" = node ] || want=$api_count
    [ "$(desired "$name-$role")" = "$want" ] ||
      aws ecs update-service --cluster "$name" --service "$name-$role" --desired-count "$want" --query service.serviceName --output text
  done
fi
if [ -n "$restart" ]; then
  for role in node api; do
    aws ecs update-service --cluster "$name" --service "$name-$role" --force-new-deployment --query service.serviceName --output text
  done
fi

say "waiting until every node answers"
await_nodes
if [ -n "$after" ]; then
  ./destroy.sh --after "$after"
fi
say "it answers at $(output url)"
cat <<TEXT
  token=\$(aws secretsmanager get-secret-value --region $region --secret-id $name/api-token --query SecretString --output text)
  curl -H "Authorization: Bearer \$token" '$(output url)/api?key=Tom'
dashboard: $(output dashboard)
It costs money until ./destroy.sh has ended.
TEXT
