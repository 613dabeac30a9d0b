# How scripts build the program for use; sourced.

# Release builds after this have their functions in the order of scripts/lib/link-in-order.
functions_in_order() {
    [ "$(uname -s)" = Linux ] || return 0
    export RUSTFLAGS="${RUSTFLAGS:-} -Csymbol-mangling-version=v0 -Clinker=$PWD/scripts/lib/link-in-order"
}
