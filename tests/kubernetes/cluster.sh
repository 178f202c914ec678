#!/usr/bin/env bash
# Builds and runs a real Kubernetes of one node on this machine, for tests: etcd, the API server,
# the controller manager, the scheduler, a kubelet that runs pods with this machine's Docker
# Engine, kube-proxy for the services' addresses, and a DNS server for the services' names.
#
#   cluster.sh build   gets Debian's source of Kubernetes 1.20 and builds it
#   cluster.sh start   starts a cluster and waits until pods can be created
#   cluster.sh env     prints what a shell has to run to use the cluster: eval "$(cluster.sh env)"
#   cluster.sh stop    ends the cluster's processes and removes its containers and traces
#
# KUBERNETES_BUILD names the folder of the built programs (default: "build" beside this script).
# KUBERNETES_RUN names the folder of a run's data (default: a new one under /tmp).
#
# Facts to know before using it:
# - One Docker Engine carries one such cluster at a time: a kubelet removes every container that
#   carries Kubernetes' labels and is not its own. Containers of other origin are left alone.
# - No image is pulled. Pods use images that the Engine has, with imagePullPolicy IfNotPresent or
#   Never; an image whose tag is "latest" or missing needs that set, as Kubernetes prescribes.
# - Pods sit on Docker's default bridge, over which a pod that is a service's only one can't reach
#   itself through the service's cluster address. Through its own name it can.
# - The API server answers on 127.0.0.1 alone, so the programs inside pods can't reach it; nothing
#   of the cluster listens on the machine's outer addresses.
# - No StorageClass exists. A PersistentVolumeClaim needs a PersistentVolume made by hand.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here
readonly build=${KUBERNETES_BUILD:-$here/build}
readonly bin=$build/bin
readonly current=$build/current-run # This file names the folder of the run that was started last.
readonly programs=(kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl)
readonly node=node-1
readonly domain=cluster.local
readonly services=10.96.0.0/16
readonly dns_address=10.96.0.10
readonly pause_image=kubernetes-pause:local
# The kubelet and kube-proxy change these settings of the kernel; "stop" sets them back.
readonly settings=(vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops
  kernel/keys/root_maxkeys kernel/keys/root_maxbytes net/ipv4/conf/all/route_localnet
  net/bridge/bridge-nf-call-iptables)

say() { printf '%s\n' "$*" >&2; }

fail() {
  say "cluster.sh: $*"
  exit 1
}

require_root() {
  [[ $(id -u) == 0 ]] ||
    fail "A kubelet mounts volumes and makes cgroups, so this has to run as root. Try sudo."
}

# ---------------------------------------------------------------------------------------- build

# Runs apt-get on source packages. The lists of source packages are those of the configured
# sources, kept in a folder of their own, so that the machine's own configuration stays as it is.
apt_source() {
  local apt=$build/src/apt
  apt-get -q -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts="$apt/parts" \
    -o Dir::State::lists="$apt/lists" -o APT::Sandbox::User=root "$@"
}

get_source() {
  local apt=$build/src/apt file
  mkdir -p "$apt/parts" "$apt/lists/partial"
  : >"$apt/sources.list"
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [[ ! -e $file ]] || sed -n 's/^deb /deb-src /p' "$file" >>"$apt/sources.list"
  done
  for file in /etc/apt/sources.list.d/*.sources; do
    [[ ! -e $file ]] || sed 's/^Types:.*/Types: deb-src/' "$file" >"$apt/parts/${file##*/}"
  done
  apt_source update >&2 ||
    fail "The lists of Debian's source packages can't be fetched (see above). Is apt configured?"
  (cd "$build/src" && apt_source source kubernetes >&2) ||
    fail "Debian's source package \"kubernetes\" can't be had (see above). Debian 12 has it."
  # Go finds the vendored libraries only when the source lies at its import path.
  mkdir -p "$build/src/gopath/src/k8s.io"
  mv "$build"/src/kubernetes-*/ "$source"
  # Where root lacks the capability SYS_RESOURCE, as in some virtual machines, the kernel lets no
  # process lower its OOM score, and no container starts whose score would be negative: the pause
  # containers' (-998) and guaranteed pods' (-997). Both get 0 instead.
  change kubelet/dockershim/docker_sandbox.go 'defaultSandboxOOMAdj int = -998' \
    'defaultSandboxOOMAdj int = 0'
  change kubelet/qos/policy.go 'return guaranteedOOMScoreAdj' 'return 0'
  # A pod that ends vanishes from the API within two seconds or so, as with later versions, and not
  # after up to a minute: the kubelet looks for what is left of ended pods more often.
  change kubelet/status/status_manager.go 'syncPeriod = 10 \* time.Second' \
    'syncPeriod = time.Second'
  change kubelet/kubelet.go 'ContainerGCPeriod = time.Minute' 'ContainerGCPeriod = 2 * time.Second'
}

# Replaces the end of lines in a file below "pkg" of the source: change FILE OLD NEW.
change() {
  grep -q "$2\$" "$source/pkg/$1" ||
    fail "Debian's source of Kubernetes has changed: \"$2\" is not in pkg/$1. Adapt this script."
  sed -i "s/$2\$/$3/" "$source/pkg/$1"
}

# Writes the one Go file that Kubernetes' source generates while it is built, the description of its
# API. The generator reads all packages with a certain mark.
generate_openapi() {
  local packages
  go build -o "$build/src/openapi-gen" ./vendor/k8s.io/kube-openapi/cmd/openapi-gen || return
  packages=$(find vendor/k8s.io -mindepth 1 -maxdepth 1 -type l ! -name code-generator \
    ! -name 'sample-*' -printf '%p/\n' | xargs grep -rl --include='*.go' '+k8s:openapi-gen=' \
    pkg/apis | xargs -n 1 dirname | sed 's#//*#/#g; s#^#k8s.io/kubernetes/#' | sort -u |
    paste -s -d ,)
  nice -n 10 "$build/src/openapi-gen" --logtostderr -i "$packages" -O zz_generated.openapi \
    -p k8s.io/kubernetes/pkg/generated/openapi -h hack/boilerplate/boilerplate.generatego.txt \
    -r "$build/src/violations"
}

build() {
  local program missing=() source=$build/src/gopath/src/k8s.io/kubernetes
  for program in "${programs[@]}" cluster-dns pause etcd; do
    [[ -x $bin/$program ]] || missing+=("$program")
  done
  if [[ ${#missing[@]} == 0 ]]; then
    say "Everything is built already, in $bin."
    return
  fi
  require_root
  say "To be built: ${missing[*]}."
  local packages=() package
  for package in golang-1.19-go gcc libc6-dev dpkg-dev docker.io iptables conntrack socat \
    openssl iproute2 util-linux mount; do
    # An Engine from elsewhere than Debian's docker.io is as good.
    [[ $package == docker.io ]] && command -v docker >/dev/null && continue
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
      packages+=("$package")
  done
  if [[ ${#packages[@]} -gt 0 ]]; then
    apt-get -q update >&2 || fail "The lists of Debian's packages can't be fetched (see above)."
    DEBIAN_FRONTEND=noninteractive apt-get -qy install --no-install-recommends \
      "${packages[@]}" >&2 || fail "These packages can't be installed: ${packages[*]}."
  fi
  mkdir -p "$bin" "$build/src"
  [[ -d $source ]] || get_source
  # etcd is taken out of its package without installing it, since the package starts a service.
  if [[ ! -x $bin/etcd ]]; then
    rm -rf "$build/src/etcd" && mkdir -p "$build/src/etcd"
    (cd "$build/src/etcd" && apt-get -q -o APT::Sandbox::User=root download etcd-server >&2 &&
      dpkg-deb -x etcd-server_*.deb .) ||
      fail "Debian's package etcd-server can't be had (see above). Try apt-get update first."
    install "$build/src/etcd/usr/bin/etcd" "$bin/etcd"
  fi
  gcc -static -Os -s -o "$bin/pause" "$source/build/pause/linux/pause.c" ||
    fail "The pods' pause program can't be compiled (see above)."
  mkdir -p "$source/cmd/cluster-dns"
  cp "$here/dns/main.go" "$source/cmd/cluster-dns/"
  local version=k8s.io/kubernetes/vendor/k8s.io/component-base/version
  (
    cd "$source" || exit
    # The source builds in GOPATH mode alone: go.mod asks for changes in module mode.
    export GO111MODULE=off GOPATH=$build/src/gopath GOCACHE=$build/src/cache CGO_ENABLED=0
    export GOFLAGS=-p=2 PATH=/usr/lib/go-1.19/bin:$PATH
    [[ -e pkg/generated/openapi/zz_generated.openapi.go ]] || generate_openapi || exit
    nice -n 10 go build -trimpath -o "$bin/" -ldflags "-s -w -X $version.gitMajor=1 \
      -X $version.gitMinor=20 -X $version.gitVersion=v1.20.2" \
      "${programs[@]/#/./cmd/}" ./cmd/cluster-dns
  ) || fail "Kubernetes can't be compiled (see above). It needs 3 GB of memory and 4 GB of disk."
  # The source and the compiler's cache take 3 GB and are of no further use.
  [[ -n ${KUBERNETES_KEEP_SOURCE:-} ]] || rm -rf "$build/src"
  say "Kubernetes is built, in $bin."
}

# ---------------------------------------------------------------------------------------- start

# Prints the time at which a process started, which tells it from a later one of the same number.
# It prints nothing for one that has ended, whether or not its parent has taken note.
start_time() { sed -n '/) Z /d; s/^.*) //p' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20; }

# Says whether the process that a file in "pids" names still runs.
running() {
  local pid time
  read -r pid time <"$1" && [[ -n $time && $(start_time "$pid") == "$time" ]]
}

# Starts a program in the background, in a session of its own: launch NAME ARGUMENTS.
launch() {
  local name=$1
  shift
  (
    umask 022
    cd "$run"
    exec setsid "$bin/$name" "$@" </dev/null >"$run/logs/$name.log" 2>&1
  ) &
  printf '%s %s\n' $! "$(start_time $!)" >"$run/pids/$name"
}

# Repeats a command until it succeeds: await SECONDS NAME DESCRIPTION COMMAND. When time is up, or
# once the program NAME has ended, it prints that program's last lines and fails.
await() {
  local deadline=$((SECONDS + $1)) name=$2 what=$3
  shift 3
  until "$@" >/dev/null 2>&1; do
    if ! running "$run/pids/$name" || ((SECONDS > deadline)); then
      tail -n 15 "$run/logs/$name.log" >&2
      running "$run/pids/$name" || fail "$name has ended, see its last lines above."
      fail "$what did not come about in time. See above and the other files in $run/logs."
    fi
    sleep 0.2
  done
}

# Sets the named variables to ports of 127.0.0.1 and the bridge that nothing uses. They are taken
# from below the ports that the kernel and Kubernetes hand out themselves.
choose_ports() {
  local name port taken
  taken=$(ss -Htuln | awk '{sub(/.*:/, "", $5); print $5}')
  for name; do
    while :; do
      port=$((RANDOM % 9000 + 20500))
      grep -qx "$port" <<<"$taken" || break
    done
    taken+=$'\n'$port
    printf -v "$name" %s "$port"
  done
}

# Issues a certificate of the cluster's authority: certificate FILE SUBJECT ALTERNATIVE-NAMES.
certificate() {
  local file=$run/pki/$1
  {
    echo 'extendedKeyUsage = clientAuth, serverAuth'
    [[ -z ${3:-} ]] || echo "subjectAltName = $3"
  } >"$file.ext"
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$file.key" \
    -subj "$2" -out "$file.csr" 2>"$file.log" ||
    fail "The key $1 can't be made: $(cat "$file.log")"
  openssl x509 -req -in "$file.csr" -CA "$run/pki/ca.crt" -CAkey "$run/pki/ca.key" \
    -CAcreateserial -days 365 -extfile "$file.ext" -out "$file.crt" 2>"$file.log" ||
    fail "The certificate $1 can't be made: $(cat "$file.log")"
}

# Writes a kubeconfig that uses the certificate of the same name: kubeconfig NAME FILE.
kubeconfig() {
  cat >"$2" <<EOF
apiVersion: v1
kind: Config
clusters:
- name: test
  cluster:
    server: https://127.0.0.1:$api_port
    certificate-authority-data: $(base64 -w 0 "$run/pki/ca.crt")
users:
- name: $1
  user:
    client-certificate-data: $(base64 -w 0 "$run/pki/$1.crt")
    client-key-data: $(base64 -w 0 "$run/pki/$1.key")
contexts:
- name: test
  context: {cluster: test, user: $1}
current-context: test
EOF
}

check_machine() {
  local program driver others
  for program in "${programs[@]}" cluster-dns pause etcd; do
    [[ -x $bin/$program ]] || fail "$bin/$program is missing. Run \"cluster.sh build\" first."
  done
  for program in docker iptables conntrack nsenter openssl ip ss mount umount setsid; do
    command -v "$program" >/dev/null ||
      fail "The command $program is missing. Install Debian's package that has it."
  done
  driver=$(docker info --format '{{.CgroupDriver}} {{.CgroupVersion}}' 2>&1) ||
    fail "The Docker Engine does not answer: $driver. Start it first."
  [[ $driver == 'cgroupfs 1' ]] ||
    fail "The Docker Engine's cgroup driver and version are \"$driver\", not \"cgroupfs 1\"."
  others=$(docker ps -aq --filter label=io.kubernetes.pod.namespace)
  [[ -z $others ]] || fail "The Docker Engine has containers of another cluster, which this one's" \
    "kubelet would remove: ${others//$'\n'/ }. Stop that cluster first."
  if [[ -e $current ]]; then
    local file
    for file in "$(cat "$current")"/pids/*; do
      [[ ! -e $file ]] || ! running "$file" ||
        fail "The cluster in $(cat "$current") runs already. Run \"cluster.sh stop\" first."
    done
  fi
}

node_ready() {
  [[ $(kubectl get node "$node" -o \
    'jsonpath={.status.conditions[?(@.type=="Ready")].status}{.spec.taints}') == True ]]
}

kubectl() { "$bin/kubectl" --kubeconfig "$run/kubeconfig" "$@"; }

start() {
  local began=$SECONDS
  require_root
  check_machine
  if [[ -n ${KUBERNETES_RUN:-} ]]; then
    run=$KUBERNETES_RUN
    [[ ! -e $run/kubeconfig ]] ||
      fail "The folder $run holds an earlier run. Stop that one, or name another folder."
    mkdir -p "$run"
    run=$(cd "$run" && pwd)
  else
    run=$(mktemp -d /tmp/kubernetes.XXXXXX)
  fi
  [[ ${#run} -lt 70 ]] || fail "The folder's name $run is too long for the sockets in it."
  mkdir -p "$run"/{logs,pids,pki,etcd,kubelet,settings}
  chmod 700 "$run/pki"
  echo "$run" >"$current"
  # Whatever fails from here on, the processes that run by then are ended again.
  trap 'trap - EXIT; stop; exit 1' EXIT

  local setting
  for setting in "${settings[@]}"; do
    [[ ! -e /proc/sys/$setting ]] || cat "/proc/sys/$setting" >"$run/settings/${setting//\//.}"
  done
  local bridge subnet
  # The Engine itself names the bridge's address only once a container has run.
  bridge=$(docker network inspect bridge \
    --format '{{index .Options "com.docker.network.bridge.name"}}')
  bridge=$(ip -4 -o address show dev "$bridge" | awk '{sub("/.*", "", $4); print $4; exit}')
  subnet=$(docker network inspect bridge --format '{{(index .IPAM.Config 0).Subnet}}')
  [[ -n $bridge && -n $subnet ]] || fail "Docker's default bridge network has no address."
  local api_port etcd_port peer_port controller_port scheduler_port kubelet_port dns_port
  local kubelet_health proxy_health proxy_metrics
  choose_ports api_port etcd_port peer_port controller_port scheduler_port kubelet_port dns_port \
    kubelet_health proxy_health proxy_metrics

  # All parts trust one authority, made for this run. Their certificates name who they are.
  umask 077
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 \
    -keyout "$run/pki/ca.key" -out "$run/pki/ca.crt" -subj /CN=kubernetes-test 2>/dev/null ||
    fail "The cluster's certificate authority can't be made with openssl."
  openssl ecparam -name prime256v1 -genkey -noout -out "$run/pki/tokens.key"
  certificate kube-apiserver /O=system:masters/CN=kube-apiserver \
    "IP:127.0.0.1,IP:${services%.*}.1,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,\
DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.$domain"
  certificate admin /O=system:masters/CN=admin
  certificate kube-controller-manager /CN=system:kube-controller-manager
  certificate kube-scheduler /CN=system:kube-scheduler
  certificate kube-proxy /CN=system:kube-proxy
  certificate cluster-dns /CN=cluster-dns
  certificate kubelet "/O=system:nodes/CN=system:node:$node" "IP:$bridge,DNS:$node"
  local name
  for name in kube-controller-manager kube-scheduler kube-proxy cluster-dns kubelet; do
    kubeconfig "$name" "$run/pki/$name.conf"
  done
  kubeconfig admin "$run/kubeconfig"
  umask 022

  launch etcd --name test --data-dir "$run/etcd" --logger zap \
    --listen-client-urls "http://127.0.0.1:$etcd_port" \
    --advertise-client-urls "http://127.0.0.1:$etcd_port" \
    --listen-peer-urls "http://127.0.0.1:$peer_port" \
    --initial-advertise-peer-urls "http://127.0.0.1:$peer_port" \
    --initial-cluster "test=http://127.0.0.1:$peer_port"
  launch kube-apiserver --bind-address 127.0.0.1 --secure-port "$api_port" --insecure-port 0 \
    --advertise-address "$bridge" --endpoint-reconciler-type none --cert-dir "$run/pki" \
    --etcd-servers "http://127.0.0.1:$etcd_port" --service-cluster-ip-range "$services" \
    --client-ca-file "$run/pki/ca.crt" --tls-cert-file "$run/pki/kube-apiserver.crt" \
    --tls-private-key-file "$run/pki/kube-apiserver.key" \
    --kubelet-certificate-authority "$run/pki/ca.crt" \
    --kubelet-client-certificate "$run/pki/kube-apiserver.crt" \
    --kubelet-client-key "$run/pki/kube-apiserver.key" \
    --kubelet-preferred-address-types InternalIP --authorization-mode Node,RBAC \
    --enable-admission-plugins NodeRestriction --allow-privileged \
    --service-account-issuer "https://kubernetes.default.svc.$domain" \
    --service-account-key-file "$run/pki/tokens.key" \
    --service-account-signing-key-file "$run/pki/tokens.key"
  await 90 kube-apiserver "The API server's readiness" kubectl get --raw /readyz

  launch kube-controller-manager --kubeconfig "$run/pki/kube-controller-manager.conf" \
    --bind-address 127.0.0.1 --secure-port "$controller_port" --port 0 --leader-elect=false \
    --cert-dir "$run/pki" --flex-volume-plugin-dir "$run/kubelet-plugins" \
    --use-service-account-credentials --root-ca-file "$run/pki/ca.crt" \
    --service-account-private-key-file "$run/pki/tokens.key" \
    --cluster-signing-cert-file "$run/pki/ca.crt" --cluster-signing-key-file "$run/pki/ca.key"
  launch kube-scheduler --kubeconfig "$run/pki/kube-scheduler.conf" --bind-address 127.0.0.1 \
    --secure-port "$scheduler_port" --port 0 --leader-elect=false --cert-dir "$run/pki"
  start_kubelet
  start_proxy
  start_dns
  await 60 kubelet "The node's readiness" node_ready
  await 60 kube-controller-manager "The service account \"default\"" \
    kubectl get serviceaccount default
  await 30 cluster-dns "The DNS server's first answer" grep -q '^Answering' \
    "$run/logs/cluster-dns.log"
  await 30 kube-proxy "The services' rules in iptables" proxy_ready
  trap - EXIT
  say "The cluster runs after $((SECONDS - began)) s, in $run. To use it:" \
    "eval \"\$($here/cluster.sh env)\""
}

# Starts the kubelet. It never removes an image and never evicts a pod for lack of disk, since the
# Engine and the disk are not its own.
start_kubelet() {
  local controller
  docker image inspect "$pause_image" >/dev/null 2>&1 ||
    tar -C "$bin" -c pause | docker import --change 'ENTRYPOINT ["/pause"]' - "$pause_image" \
      >/dev/null || fail "The Docker Engine does not take the pods' pause image (see above)."
  # All pods' cgroups lie below one of this run's own. "stop" knows the containers by it.
  for controller in /sys/fs/cgroup/*/; do
    mkdir -p "$controller/$(cgroup)"
  done
  cat "/sys/fs/cgroup/cpuset/cpuset.cpus" >"/sys/fs/cgroup/cpuset/$(cgroup)/cpuset.cpus"
  cat "/sys/fs/cgroup/cpuset/cpuset.mems" >"/sys/fs/cgroup/cpuset/$(cgroup)/cpuset.mems"
  cat >"$run/kubelet.yaml" <<EOF
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $bridge
port: $kubelet_port
readOnlyPort: 0
healthzBindAddress: 127.0.0.1
healthzPort: $kubelet_health
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: $run/pki/ca.crt}
authorization: {mode: Webhook}
tlsCertFile: $run/pki/kubelet.crt
tlsPrivateKeyFile: $run/pki/kubelet.key
clusterDomain: $domain
clusterDNS: [$dns_address]
cgroupDriver: cgroupfs
cgroupRoot: /$(cgroup)
failSwapOn: false
imageGCHighThresholdPercent: 100
evictionHard:
  memory.available: 0%
  nodefs.available: 0%
  nodefs.inodesFree: 0%
  imagefs.available: 0%
featureGates: {DevicePlugins: false}
volumePluginDir: $run/kubelet-plugins
EOF
  launch kubelet --config "$run/kubelet.yaml" --kubeconfig "$run/pki/kubelet.conf" \
    --hostname-override "$node" --node-ip "$bridge" --root-dir "$run/kubelet" \
    --cert-dir "$run/pki" --container-runtime docker --pod-infra-container-image "$pause_image" \
    --container-runtime-endpoint "unix://$run/dockershim.sock" \
    --experimental-dockershim-root-directory "$run/dockershim"
}

# Starts kube-proxy, which leaves the kernel's table of connections at its size, and opens node
# ports on Docker's bridge alone.
start_proxy() {
  cat >"$run/kube-proxy.yaml" <<EOF
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
bindAddress: $bridge
healthzBindAddress: 127.0.0.1:$proxy_health
metricsBindAddress: 127.0.0.1:$proxy_metrics
hostnameOverride: $node
clusterCIDR: $subnet
nodePortAddresses: [$subnet]
clientConnection: {kubeconfig: $run/pki/kube-proxy.conf}
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
EOF
  launch kube-proxy --config "$run/kube-proxy.yaml"
}

# Starts the DNS server behind a service of its own, so that it needs no port 53 of the machine.
start_dns() {
  kubectl create clusterrolebinding cluster-dns --clusterrole system:kube-dns \
    --user cluster-dns >/dev/null
  kubectl apply -f - >/dev/null <<EOF
apiVersion: v1
kind: Service
metadata: {name: kube-dns, namespace: kube-system}
spec:
  clusterIP: $dns_address
  ports:
  - {name: dns, port: 53, targetPort: $dns_port, protocol: UDP}
  - {name: dns-tcp, port: 53, targetPort: $dns_port, protocol: TCP}
---
apiVersion: v1
kind: Endpoints
metadata: {name: kube-dns, namespace: kube-system}
subsets:
- addresses: [{ip: $bridge}]
  ports:
  - {name: dns, port: $dns_port, protocol: UDP}
  - {name: dns-tcp, port: $dns_port, protocol: TCP}
EOF
  launch cluster-dns --kubeconfig "$run/pki/cluster-dns.conf" --listen "$bridge:$dns_port" \
    --domain "$domain"
}

proxy_ready() { iptables -w -t nat -S KUBE-SERVICES | grep -q -- "-d $dns_address/32 "; }

# Names the cgroup of this run.
cgroup() { echo "kubernetes-$(cksum <<<"$run" | cut -d ' ' -f 1)"; }

# ----------------------------------------------------------------------------------------- stop

# Sets "run" to the folder of the cluster that was started last, or that KUBERNETES_RUN names.
find_run() {
  run=${KUBERNETES_RUN:-$(cat "$current" 2>/dev/null || true)}
  [[ -n $run && -d $run/pids ]] ||
    fail "No cluster was started here${run:+ (there is no $run/pids)}. Run \"cluster.sh start\"."
}

end_process() {
  local file=$1 pid tries=0
  [[ -e $file ]] || return 0
  read -r pid _ <"$file" || return 0
  while running "$file"; do
    case $tries in
      0) kill -TERM "$pid" 2>/dev/null || true ;;
      50) kill -KILL "$pid" 2>/dev/null || true ;;
      100) fail "The process $pid (${file##*/}) does not end. Look at it and end it by hand." ;;
    esac
    tries=$((tries + 1))
    sleep 0.2
  done
  rm -f "$file"
}

# Removes the rules and chains that the kubelet and kube-proxy made; all are named KUBE-something.
# First go the other chains' jumps to them, then their rules, then they themselves.
remove_rules() {
  local iptables table change
  for iptables in iptables ip6tables; do
    for table in nat filter mangle; do
      for change in '/^-A KUBE-/d; s/^-A \(.*-j KUBE-\)/-D \1/p' 's/^-N \(KUBE-\)/-F \1/p' \
        's/^-N \(KUBE-\)/-X \1/p'; do
        { "$iptables" -w -t "$table" -S 2>/dev/null || true; } | sed -n "$change" |
          xargs -r -L 1 "$iptables" -w -t "$table" || true
      done
    done
  done
}

stop() {
  require_root
  find_run
  local name containers ids directory uid file
  # The kubelet ends first, since it would start the pods' containers again.
  for name in kubelet kube-proxy cluster-dns kube-scheduler kube-controller-manager \
    kube-apiserver etcd; do
    end_process "$run/pids/$name"
  done
  containers=$(docker ps -aq --filter label=io.kubernetes.pod.namespace)
  if [[ -n $containers ]]; then
    ids=$(xargs docker inspect --format '{{.Id}} {{.HostConfig.CgroupParent}}' <<<"$containers" |
      awk -v parent="/$(cgroup)/" 'index($2, parent) == 1 {print $1}')
    [[ -z $ids ]] || xargs docker rm -f -v <<<"$ids" >/dev/null ||
      fail "Containers of the cluster's pods can't be removed (see above). Run stop again."
  fi
  docker image rm "$pause_image" >/dev/null 2>&1 || true
  # The volumes of pods are mounts below the kubelet's folder; the deepest go first.
  awk -v below="$run/" 'index($2, below) == 1 {print $2}' /proc/mounts | sort -r |
    while read -r directory; do
      umount "$(printf %b "$directory")" || fail "$directory can't be unmounted (see above)."
    done
  for directory in "$run"/kubelet/pods/*/; do
    uid=$(basename "$directory")
    rm -rf /var/log/pods/*_"$uid"
  done
  find /var/log/containers -maxdepth 1 -xtype l -delete 2>/dev/null || true
  rmdir /var/log/containers /var/log/pods 2>/dev/null || true
  remove_rules
  for directory in /sys/fs/cgroup/*/"$(cgroup)"; do
    [[ ! -d $directory ]] || find "$directory" -depth -type d -exec rmdir {} + || true
  done
  for name in "${settings[@]}"; do
    file=$run/settings/${name//\//.}
    [[ ! -e $file ]] || cat "$file" >"/proc/sys/$name" || true
  done
  rm -rf "$run"/{etcd,kubelet,kubelet-plugins,dockershim,dockershim.sock,pki,pids,settings} \
    "$run"/{kubeconfig,kubelet.yaml,kube-proxy.yaml}
  [[ $(cat "$current" 2>/dev/null || true) != "$run" ]] || rm -f "$current"
  say "The cluster is stopped. What its programs said is in $run/logs."
}

environment() {
  find_run
  [[ -e $run/kubeconfig ]] || fail "The cluster in $run has no kubeconfig. Start it again."
  # shellcheck disable=SC2016 # The caller's shell expands its own PATH.
  printf 'export KUBECONFIG=%q\nexport PATH=%q:"$PATH"\n' "$run/kubeconfig" "$bin"
}

run=
case ${1:-} in
  build) build ;;
  start) start ;;
  stop) stop ;;
  env) environment ;;
  *) fail "Say what to do: build, start, env or stop. The head of this file explains them." ;;
esac
