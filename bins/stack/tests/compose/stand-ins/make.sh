#!/bin/sh
# Makes stand-ins: make.sh KAFKA_JARS IMAGE=TARGET…  The target `rust` is the machine's own toolchain.
# Needs root, debootstrap, and a Docker engine.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
jars=$1
shift
work=$(mktemp -d)
trap 'umount "$work/root/proc" 2>/dev/null || true; rm -rf "$work"' EXIT

base=gostocks-stand-in/base:bookworm
if ! docker image inspect "$base" >/dev/null 2>&1; then
  echo "making $base"
  command -v debootstrap >/dev/null || apt-get install -y -q debootstrap >"$work/log" 2>&1
  debootstrap --variant=minbase bookworm "$work/root" >"$work/log" 2>&1 || { tail "$work/log"; exit 1; }
  # No package is to start its service.
  printf '#!/bin/sh\nexit 101\n' >"$work/root/usr/sbin/policy-rc.d"
  chmod +x "$work/root/usr/sbin/policy-rc.d"
  cp /etc/resolv.conf "$work/root/etc/"
  mount -t proc proc "$work/root/proc"
  DEBIAN_FRONTEND=noninteractive chroot "$work/root" apt-get install -y -q --no-install-recommends \
    redis-server postgresql prometheus prometheus-redis-exporter prometheus-postgres-exporter \
    prometheus-node-exporter default-jre-headless kcat wget busybox python3-yaml protobuf-compiler \
    ca-certificates >"$work/log" 2>&1 || { tail "$work/log"; exit 1; }
  umount "$work/root/proc"
  tar -C "$work/root" -c . | docker import - "$base" >/dev/null
fi

mkdir "$work/context"
cp "$here"/* "$work/context"
cp -r "$jars" "$work/context/kafka"
for wanted in "$@"; do
  image=${wanted%=*} target=${wanted#*=}
  echo "making $image"
  if [ "$target" = rust ]; then
    # The toolchain, and the authorities that this machine trusts.
    mkdir "$work/rust"
    cp /etc/ssl/certs/ca-certificates.crt "$work/rust/host.crt"
    tar -C "$(rustc --print sysroot)" --exclude=./share -cf "$work/rust/toolchain.tar" .
    cat >"$work/rust/Dockerfile" <<EOF
FROM $base
ADD toolchain.tar /usr/local/
COPY host.crt /etc/ssl/host.crt
ENV SSL_CERT_FILE=/etc/ssl/host.crt CARGO_HTTP_CAINFO=/etc/ssl/host.crt CARGO_HOME=/usr/local/cargo
EOF
    docker build -q -t "$image" "$work/rust" >/dev/null
    rm -r "$work/rust"
  else
    docker build -q -t "$image" --target "$target" "$work/context" >/dev/null
  fi
done
