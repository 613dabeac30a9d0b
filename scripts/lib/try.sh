# Installs packages in scratch roots; sourced by scripts/package.

# Each package: installed, run as an agent on loopback, upgraded, removed, nothing left.
try_packages() {
    [ "$(id -u)" = 0 ] || { echo "must be root: it makes namespaces and mounts" >&2; exit 1; }
    [ "$machine" = "$(uname -m)" ] || { echo "packages for $machine cannot run here" >&2; exit 1; }
    reproducible
    # Another machine's packages may be there as well.
    [ -e "$out/ruserf_${version}_$arch.deb" ] || scripts/package all
    local work
    # In the names of the packages.
    export machine arch
    work=$(mktemp -d)
    cp "$out"/*ruserf* "$work"
    # The next version, of the same files: what an upgrade replaces.
    make_stage
    package_version=$version.1 out=$work make_packages deb rpm
    rm -r "$stage"
    for kind in deb rpm apk tar image; do
        unshare --mount --pid --fork --net --uts --ipc --cgroup --kill-child "$BASH" -euo pipefail -c \
            '. scripts/lib/try.sh; try_inside "$@"' try "$kind" "$work" "$version"
    done
    try_sources "$work/sources"
    rm -rf "$work"
}

# What the README says for those who have Rust.
try_sources() { # DIRECTORY
    env --unset=RUSTFLAGS cargo install --quiet --path . --locked --root "$1"
    "$1/bin/serf" version | head -1 | grep -qx "$version"
    echo "sources: built and installed by cargo install"
}

# In namespaces of its own, on a temporary layer above this machine's root.
try_inside() { # KIND DIRECTORY VERSION
    local kind=$1 from=$2 version=$3 disk root
    mount --make-rprivate /
    mount -t proc proc /proc
    ip link set lo up
    disk=$(mktemp -d)
    mount -t tmpfs tmpfs "$disk"
    mkdir "$disk"/{upper,work,root}
    root=$disk/root
    mount -t overlay overlay -o "lowerdir=/,upperdir=$disk/upper,workdir=$disk/work" "$root"
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mkdir -p "$root/packages"
    mount --bind "$from" "$root/packages"
    in_root() { chroot "$root" /usr/bin/env -i PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"; }
    files() { (cd "$disk/upper" && find . -type f -o -type c | grep -Ev '^./(var/(lib/(dpkg|rpm|systemd)|log|cache)|root/.rpmdb|etc/ld.so.cache|packages|tmp)' | LC_ALL=C sort); }
    "try_$kind"
}

# The agent that was installed.
runs() { # VERSION
    in_root sh -euc '
        serf version | head -1
        mkdir -p /var/lib/serf
        serf validate /etc/serf >/dev/null
        serf agent -node try -bind 127.0.0.1 >/tmp/agent.log 2>&1 &
        for _ in $(seq 100); do ! serf members >/tmp/members 2>/dev/null || break; sleep 0.1; done
        grep -q "^try  *127.0.0.1:7946  *alive" /tmp/members
        serf leave >/dev/null; wait' | grep -qx "$1" || {
        echo "the agent of the package does not run as version $1" >&2
        cat "$root/tmp/agent.log" >&2
        exit 1
    }
}

nothing_left() {
    local left
    left=$(files | grep serf || true)
    [ -z "$left" ] || { echo "left behind: $left" >&2; exit 1; }
}

try_deb() {
    local run=(dpkg --force-depends)
    in_root "${run[@]}" --install "/packages/ruserf_${version}_$arch.deb" >/dev/null
    runs "$version"
    in_root test -s /usr/share/man/man5/serf.json.5.gz
    echo '{"tags": {"kept": "yes"}}' >"$root/etc/serf/agent.json"
    in_root "${run[@]}" --install "/packages/ruserf_$version.1_$arch.deb" </dev/null >/dev/null
    grep -q kept "$root/etc/serf/agent.json"
    in_root dpkg-query --show --showformat '${Version}' ruserf | grep -qx "$version.1"
    in_root dpkg --purge ruserf >/dev/null
    nothing_left
    echo "deb: installed, run, upgraded with its configuration kept, purged without a trace"
}

try_rpm() {
    # Its database is this root's own; what this machine has installed is Debian's.
    local run=(rpm --nodeps --nosignature)
    in_root "${run[@]}" --install "/packages/ruserf-$version-1.$machine.rpm" >/dev/null
    runs "$version"
    echo '{"tags": {"kept": "yes"}}' >"$root/etc/serf/agent.json"
    in_root "${run[@]}" --upgrade "/packages/ruserf-$version.1-1.$machine.rpm" >/dev/null
    grep -q kept "$root/etc/serf/agent.json"
    in_root rpm --query ruserf | grep -q "^ruserf-$version.1"
    in_root rpm --erase ruserf 2>/dev/null
    rm -f "$root/etc/serf/agent.json.rpmsave"
    nothing_left
    echo "rpm: installed, run, upgraded with its configuration kept, erased"
}

# apk is not on every build machine: without it the archive is unpacked as apk would.
try_apk() {
    local file=/packages/ruserf_${version}_$machine.apk
    if command -v apk >/dev/null; then
        in_root apk add --allow-untrusted "$file" >/dev/null
        runs "$version"
        in_root apk del ruserf >/dev/null
        nothing_left
        echo "apk: installed, run, removed"
    else
        in_root tar --extract --ignore-zeros --warning=no-unknown-keyword --file "$file" --directory /
        grep -q '^pkgname = ruserf$' "$root/.PKGINFO"
        runs "$version"
        echo "apk: unpacked and run; NOT installed by apk, which is missing here"
    fi
}

try_tar() {
    in_root tar -xzf "/packages/ruserf-$version-$machine-linux.tar.gz" -C /usr/local --strip-components=1
    mkdir -p "$root/etc/serf"
    cp "$root/usr/local/etc/serf/agent.json" "$root/etc/serf/"
    runs "$version"
    echo "tar: unpacked and run"
}

# By crun, with the namespaces of a container and without being root in them.
try_image() {
    local name=ruserf-$version-$machine.oci.tar bundle=$disk/bundle
    command -v crun >/dev/null || { echo "image: NOT run, crun is missing" && return; }
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    mkdir "$disk/image"
    tar --extract --file "$from/$name" --directory "$disk/image"
    umoci config --image "$disk/image:$version" --config.cmd version
    umoci unpack --rootless --image "$disk/image:$version" "$bundle" >/dev/null 2>&1
    sed -i 's/"terminal": *true/"terminal": false/' "$bundle/config.json"
    crun --root "$disk/crun" --cgroup-manager=disabled run --bundle "$bundle" try >"$disk/said"
    head -1 "$disk/said" | grep -qx "$version"
    echo "image: $(stat --format=%s "$from/$name") bytes, unpacked and run by crun, rootless"
}
