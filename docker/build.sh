#!/usr/bin/env bash
# Builds images: docker/build.sh watch train serve minio tensorboard mlflow. Each gets two tags: the release version, which the pipelines name,
# and a hash of what it is made of, its base too. An image whose content is there already is not built again.
# docker/build.sh --pin asks the registry what its bases are now, and notes their digests in docker/bases.txt.
#   DOCKER              the docker program                                   (docker)
#   DOCKER_BUILD_ARGS   more arguments for docker build, such as --network host or --build-arg GO_IMAGE=...
#   DOCKER_PUSH_TO      a registry, such as ghcr.io/me/: images go there with their SBOM and provenance, and not into the engine
#   PIP_*, UV_*, GO*    where packages come from; a build secret, so that no layer and no history has it
set -euo pipefail
cd "$(dirname "$0")/.."
docker=${DOCKER:-docker}
to=${DOCKER_PUSH_TO:-}
to=${to:+${to%/}/}
how=(build)
if [ -n "$to" ]; then how=(buildx build --push --sbom=true --provenance=mode=max); fi
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)

packages=$(mktemp)
said=$(mktemp)
trap 'rm -f "$packages" "$said"' EXIT
for name in PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_DEFAULT_TIMEOUT UV_INDEX_URL UV_DEFAULT_INDEX UV_EXTRA_INDEX_URL UV_HTTP_TIMEOUT GOPROXY GOSUMDB; do
  if [ -n "${!name:-}" ]; then printf '%s=%q\n' "$name" "${!name}" >>"$packages"; fi
done

# A base as it is noted: its name, or its name and its digest.
base() { grep -m 1 "^$1" docker/bases.txt; }

pin() {
  local name digest
  grep -v '^#' docker/bases.txt | while IFS=@ read -r name _; do
    digest=$("$docker" buildx imagetools inspect "$name" --format '{{.Manifest.Digest}}') || exit 2
    sed -i "s|^$name.*|$name@$digest|" docker/bases.txt
    grep "^$name" docker/bases.txt
  done
}
if [ "${1:-}" = --pin ]; then pin; exit; fi

# The files that an image is made of.
made_of() {
  echo "docker/$1.Dockerfile"
  case $1 in
    watch | train | serve)
      echo "requirements/$1.txt"
      echo requirements/uv.txt
      find driftloop components pipelines pyproject.toml .dockerignore -type f -not -path '*/__pycache__/*'
      ;;
    tensorboard | mlflow) printf 'requirements/%s.txt\n' "$1" uv ;;
    minio) ;;
    *) echo "docker/build.sh: no image is called $1; there are watch, train, serve, minio, tensorboard and mlflow" >&2 && return 2 ;;
  esac
}

for name in "${@:-watch}"; do
  files=$(made_of "$name")
  bases=(--build-arg "PYTHON_IMAGE=$(base python)")
  if [ "$name" = minio ]; then bases+=(--build-arg "GO_IMAGE=$(base golang)"); fi
  content=$({ LC_ALL=C sort <<<"$files" | xargs -d '\n' sha256sum; echo "${bases[@]}"; } | sha256sum | cut -c1-12)
  if [ -z "$to" ] && "$docker" image inspect "driftloop-$name:$content" >/dev/null 2>&1; then
    "$docker" tag "driftloop-$name:$content" "driftloop-$name:$version"
  else
    # shellcheck disable=SC2086 - DOCKER_BUILD_ARGS holds several arguments
    if ! DOCKER_BUILDKIT=1 "$docker" "${how[@]}" --quiet "${bases[@]}" ${DOCKER_BUILD_ARGS:-} --file "docker/$name.Dockerfile" \
      --build-arg "VERSION=$version" --build-arg "REVISION=$content" --secret "id=packages,src=$packages" \
      --tag "${to}driftloop-$name:$version" --tag "${to}driftloop-$name:$content" . 2>"$said" >/dev/null; then
      cat "$said" >&2
      if grep -q 'buildx component is missing' "$said"; then
        echo "$docker has no plugin to build with (buildx): install the package docker-buildx-plugin (Debian's own: docker-buildx)," \
          "or name a client that has it, such as DOCKER=/usr/bin/docker" >&2
      fi
      exit 1
    fi
  fi
  echo "${to}driftloop-$name:$version ${to}driftloop-$name:$content"
done
