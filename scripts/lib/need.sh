# Checks for what the scripts need. Sourced, not run.

# at_least WANT GOT: whether version GOT is WANT or newer.
at_least() {
    [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]
}

need_rust() {
    command -v cargo >/dev/null || {
        echo "missing: cargo. Install Rust 1.95 or newer with rustup." >&2
        exit 1
    }
    local have
    have=$(rustc --version | awk '{print $2}')
    at_least 1.95 "$have" || {
        echo "missing: Rust 1.95 or newer (found $have). Run: rustup update stable" >&2
        exit 1
    }
}

# has_target TARGET: whether Rust's libraries for it are there.
has_target() {
    test -d "$(rustc --print target-libdir --target "$1" 2>/dev/null)"
}

need_rust_component() {
    cargo "$1" --version >/dev/null 2>&1 || {
        echo "missing: cargo $1. Run: rustup component add $2" >&2
        exit 1
    }
}

# The wanted version is the one in go-harness/go.mod (current serf itself needs it). Asking inside
# the module lets an older go fetch that toolchain when its GOTOOLCHAIN setting permits.
need_go() {
    local want have
    want=$(awk '$1 == "go" {print $2}' go-harness/go.mod)
    command -v go >/dev/null || {
        echo "missing: go. The interop tests build real Go peers; install Go $want or newer." >&2
        exit 1
    }
    have=$(cd go-harness && go env GOVERSION 2>/dev/null) || have=$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null)
    have=${have#go}
    at_least "$want" "$have" || {
        echo "missing: Go $want or newer (found $have)." >&2
        exit 1
    }
}

# What tests of the agent's views need. Without it they say that they have not run, except under CI.
need_views() {
    local name missing=chromium packages=
    for name in "${CHROMIUM:-chromium}" chromium-browser google-chrome chromium-headless-shell; do
        command -v "$name" >/dev/null && missing=
    done
    packages=$missing
    command -v prometheus >/dev/null || packages="$packages prometheus"
    [ -n "$packages" ] || return 0
    echo "missing, for tests of the status page and of alerts: apt-get install $packages" >&2
    [ -z "${CI:-}" ] || exit 1
}
