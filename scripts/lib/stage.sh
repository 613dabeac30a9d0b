# The files of the packages, in a directory; sourced by scripts/package.

# Everything that could differ between two builds of one commit is fixed here.
reproducible() {
    SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
    RUSERF_COMMIT=${RUSERF_COMMIT:-$(git rev-parse --short=12 HEAD)}
    export SOURCE_DATE_EPOCH RUSERF_COMMIT TZ=UTC LC_ALL=C
    local cargo=${CARGO_HOME:-$HOME/.cargo}
    export RUSTFLAGS="--remap-path-prefix=$PWD=/ruserf --remap-path-prefix=$cargo=/cargo"
    RUSTFLAGS+=" --remap-path-prefix=$(rustc --print sysroot)=/rust"
    if [ "$machine" = "$(uname -m)" ]; then
        functions_in_order
    else
        # The linker that comes with Rust links for other machines, too; without the order.
        RUSTFLAGS+=" -Clinker=rust-lld -Clinker-flavor=ld.lld"
    fi
}

build_program() {
    rustc --print target-libdir --target "$target" | xargs test -d || {
        echo "missing: the target $target. Run: rustup target add $target" >&2
        exit 1
    }
    local command=(cargo build)
    c_compiler
    # Puts the list of crates into the program, where cargo audit finds it.
    ! cargo auditable --version >/dev/null 2>&1 || command=(cargo auditable build)
    [ "${command[1]}" = auditable ] || echo "without cargo-auditable: no list of crates inside" >&2
    "${command[@]}" --release --locked --quiet --target "$target" --bin serf
    program=${CARGO_TARGET_DIR:-target}/$target/release/serf
}

# Names the compiler of ring's C and assembly to Cargo: with musl's headers for this machine, GNU's
# for another one, whose headers of C's integers serve as well.
c_compiler() {
    local variable=CC_${target//-/_} compiler=musl-gcc package=musl-tools
    if [ "$machine" != "$(uname -m)" ]; then
        compiler=$machine-linux-gnu-gcc package="gcc-${machine/_/-}-linux-gnu libc6-dev-$arch-cross"
    fi
    compiler=${!variable:-$compiler}
    need "${compiler%% *}" "apt-get install $package"
    export "$variable=$compiler"
}

# A crate that has no file with its licence: other crates have the text of Apache 2.0.
without_text() { # NAME LICENCE
    case $2 in
    *Apache-2.0*) echo "---- used under Apache-2.0, whose text is with other crates here" ;;
    *) echo "no text of the licence of $1: $2" >&2 && return 1 ;;
    esac
}

# Licences of the crates that are compiled in.
licences() {
    local cargo=${CARGO_HOME:-$HOME/.cargo} name number licence
    cargo tree --offline --locked --edges normal --target "$target" --prefix none \
        --format '{p} {l}' | LC_ALL=C sort -u | while read -r name number licence; do
        [ "$name" != ruserf ] || continue
        printf '==== %s %s: %s\n' "$name" "${number#v}" "${licence#(\*)}"
        find "$cargo"/registry/src/*/"$name-${number#v}" -maxdepth 1 -iname 'LICEN[SC]E*' -o \
            -maxdepth 1 -iname 'COPYING*' -o -maxdepth 1 -iname 'NOTICE*' | LC_ALL=C sort -u | {
            files=
            while read -r file; do
                printf -- '---- %s\n' "${file##*/}"
                cat "$file"
                files=yes
            done
            [ -n "$files" ] || without_text "$name" "$licence"
        }
    done
}

# The tree of files, in the directory $stage.
make_stage() {
    reproducible
    build_program
    stage=$(mktemp -d)
    chmod 755 "$stage"
    local doc=$stage/usr/share/doc/ruserf run=$program
    # Another machine's program cannot print its manual here; this machine's prints the same.
    if [ "$machine" != "$(uname -m)" ]; then
        # RUSTFLAGS has the other machine's linker.
        env --unset=RUSTFLAGS cargo build --quiet --locked --bin serf
        run=${CARGO_TARGET_DIR:-target}/debug/serf
    fi
    install -Dm755 "$program" "$stage/usr/bin/serf"
    install -Dm755 packaging/copy-config "$stage/usr/lib/serf/copy-config"
    install -Dm644 packaging/serf.service "$stage/usr/lib/systemd/system/serf.service"
    install -Dm644 packaging/agent.json "$stage/etc/serf/agent.json"
    install -Dm644 LICENSE "$doc/copyright"
    install -Dm644 -t "$doc/examples" packaging/handlers.conf \
        packaging/prometheus/serf.rules.yml packaging/grafana/serf.json
    install -m644 README.md SECURITY.md docs/differences.md docs/migration.md "$doc"
    gzip -9n <CHANGELOG.md >"$doc/changelog.gz"
    licences | gzip -9n >"$doc/licences.gz"
    mkdir -p "$stage"/usr/share/{man/man1,man/man5,bash-completion/completions} \
        "$stage"/usr/share/{zsh/vendor-completions,fish/vendor_completions.d}
    "$run" man | gzip -9n >"$stage/usr/share/man/man1/serf.1.gz"
    "$run" man serf.json | gzip -9n >"$stage/usr/share/man/man5/serf.json.5.gz"
    "$run" completion bash >"$stage/usr/share/bash-completion/completions/serf"
    "$run" completion zsh >"$stage/usr/share/zsh/vendor-completions/_serf"
    "$run" completion fish >"$stage/usr/share/fish/vendor_completions.d/serf.fish"
    find "$stage" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
}

# All packages from two copies of the commit, in directories of different names.
build_twice() {
    local work first second
    work=$(mktemp -d)
    for copy in one another-name; do
        git clone --quiet --local . "$work/$copy"
        (cd "$work/$copy" && CARGO_TARGET_DIR=$work/$copy/target scripts/package all >/dev/null)
    done
    first=$work/one/target/packages/SHA256SUMS second=$work/another-name/target/packages/SHA256SUMS
    if ! diff "$first" "$second"; then
        echo "two builds differ; they are in $work" >&2
        exit 1
    fi
    cat "$first"
    rm -rf "$work"
    echo "two builds are the same"
}
