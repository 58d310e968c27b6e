#!/usr/bin/env bash
# Installs the peers that the benchmarks run beside Millstream, and builds their drivers: all of it into target/peers,
# nothing into the repository or the system. What cannot be had is said and left out; the benchmark skips it.
#
#   benches/peers/install.sh [node] [redis] [rust]      all three, or only these
#
# Needs npm (for node), apt-get and dpkg-deb where redis-server is not installed (for redis), cargo (for rust).
# Another place than target/peers: MILLSTREAM_PEERS_DIR.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
into=${MILLSTREAM_PEERS_DIR:-$here/../../target/peers}
parts=("$@")
((${#parts[@]} > 0)) || parts=(node redis rust)

# Graphile-worker, pg-boss and BullMQ, and the Node they want.
install_node() {
    command -v npm >/dev/null || { echo 'npm is not installed'; return 1; }
    mkdir -p "$into/node" && cp "$here/node/package.json" "$into/node/" || return 1
    (cd "$into/node" && npm install --no-audit --no-fund --no-package-lock --loglevel=error) || return 1
    # npm may have been told to run no scripts: then Node's own did not put its program into place.
    local node="$into/node/node_modules/node/bin/node"
    [[ -x $node ]] || (cd "$into/node/node_modules/node" && node installArchSpecificPackage) || return 1
    "$node" --version
}

# The system's Redis, or Debian's packages, unpacked.
install_redis() {
    local installed
    if installed=$(command -v redis-server); then
        mkdir -p "$into/redis/usr/bin" && ln -sf "$installed" "$into/redis/usr/bin/redis-server"
    else
        command -v apt-get >/dev/null || { echo 'neither redis-server nor apt-get is installed'; return 1; }
        mkdir -p "$into/redis/parcels" || return 1
        local libraries
        libraries=$(apt-cache depends redis-tools | awk '$1 == "Depends:" && $2 !~ /[<>]/ && $2 !~ /^libc6$|^redis/ { print $2 }')
        # shellcheck disable=SC2086 # a list of names
        (cd "$into/redis/parcels" && apt-get download --quiet redis-server redis-tools $libraries) || return 1
        local parcel
        for parcel in "$into/redis/parcels"/*.deb; do
            dpkg-deb --extract "$parcel" "$into/redis" || return 1
        done
        rm -r "$into/redis/parcels"
    fi
    LD_LIBRARY_PATH=$(redis_libraries) "$into/redis/usr/bin/redis-server" --version
}

redis_libraries() {
    find "$into/redis" -type d -name '*-linux-gnu*' -printf '%p:' 2>/dev/null
}

# Drivers of graphile_worker, River and bullmq-official, each with its peer in it.
install_rust() {
    cargo build --release --locked --manifest-path "$here/rust/Cargo.toml" --target-dir "$into/rust"
}

missing=0
for part in "${parts[@]}"; do
    case $part in
        node | redis | rust) ;;
        *)
            echo "no part named $part: node, redis, rust" >&2
            exit 2
            ;;
    esac
done
for part in "${parts[@]}"; do
    echo "==> $part"
    "install_$part" || { echo "    $part: not installed; the benchmark will skip what needs it" >&2; missing=1; }
done
exit $missing
