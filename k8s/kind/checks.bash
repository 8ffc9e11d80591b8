# shellcheck shell=bash disable=SC2034
# Sourced by up, images and down: what they need, said in one line where it is missing. Nothing here calls a program before it is known.
cluster=driftloop
node=$cluster-control-plane
context=kind-$cluster
docker=${DOCKER:-docker}
# kind calls `docker` by that name: let it find the one that was named.
case $docker in */docker) PATH=${docker%/*}:$PATH ;; esac

say() { printf '%s\n' "$*" >&2; }
stop() { say "driftloop: $*" && exit 2; }

need_tool() {
  command -v "$1" >/dev/null || stop "$1 is not on the PATH: install it ($2)"
}

need_tools() {
  need_tool "$docker" "https://docs.docker.com/engine/install/, or name the docker program with DOCKER=..."
  need_tool kind "0.30 or newer, https://kind.sigs.k8s.io"
  need_tool kubectl "https://kubernetes.io/docs/tasks/tools/"
  need_tool git "kubectl fetches Kubeflow's manifests with it"
  "$docker" info >/dev/null 2>&1 || stop "no Docker engine answers '$docker info': start one, or name the docker program with DOCKER=..."
}

cluster_exists() { "$docker" container inspect "$node" >/dev/null 2>&1; }

# need_port PORT PURPOSE
need_port() {
  if (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then
    stop "port $1 of 127.0.0.1 is in use, and $2 needs it: stop what listens there, or change hostPort in k8s/kind/cluster.yaml"
  fi
}

# need_memory GIB
need_memory() {
  local bytes
  bytes=$("$docker" info --format '{{.MemTotal}}')
  [ "$bytes" -ge $(($1 << 30)) ] ||
    stop "the Docker engine has $((bytes >> 30)) GiB of memory, and the cluster needs $1: give it more, or say DRIFTLOOP_KIND_MEMORY_GIB=... to try with less"
}

# need_disk GIB: where the engine keeps images, if that folder is on this machine and not inside a virtual one.
need_disk() {
  local folder free
  folder=$("$docker" info --format '{{.DockerRootDir}}')
  [ -d "$folder" ] || folder=.
  free=$(df --output=avail -k "$folder" 2>/dev/null || df -k "$folder" | awk '{print $4}')
  free=$((${free##*[!0-9]} >> 20))
  [ "$free" -ge "$1" ] ||
    stop "$folder has $free GiB free, and this needs $1: free some ('$docker system prune'), or say DRIFTLOOP_KIND_DISK_GIB=... to try with less"
}
