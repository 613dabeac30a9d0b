# Captures gossip on loopback, and checks that `serf decode` reads all of it and says what Go's own
# decoder says. Sourced, not run. Uses $dir, $pids and fail of the script that sources it.

# start_capture FILTER: into $dir/gossip.pcap; says so where tcpdump cannot capture.
start_capture() {
    command -v tcpdump >/dev/null || { echo "not checked, since tcpdump is missing: serf decode"; return; }
    # -Z root: the directory is only ours.
    tcpdump -i lo -U -Z root -w "$dir/gossip.pcap" "$1" 2>"$dir/tcpdump.log" &
    capture=$!
    pids+=($capture)
    for _ in $(seq 50); do
        grep -q "listening on" "$dir/tcpdump.log" && return
        kill -0 "$capture" 2>/dev/null || break
        sleep 0.1
    done
    echo "not checked, since tcpdump may not capture: serf decode"
    capture=
}

# all_decoded SERF KEY...: ends the capture; each message is decoded with one of the keys, or fail.
all_decoded() {
    [ -n "${capture:-}" ] || return 0
    local serf=$1 key keys=()
    shift
    for key; do keys+=(-encrypt "$key"); done
    kill -INT "$capture" 2>/dev/null || true
    wait "$capture" 2>/dev/null || true
    grep -q "^0 packets dropped by kernel" "$dir/tcpdump.log" || fail "tcpdump lost packets"
    "$serf" decode "${keys[@]}" -format json "$dir/gossip.pcap" \
        >"$dir/decoded.json" 2>"$dir/decoded.err" || fail "serf decode: $(cat "$dir/decoded.err")"
    # After a comma it counts what was not decoded.
    ! grep -q , "$dir/decoded.err" || fail "serf decode: $(cat "$dir/decoded.err")"
    ! grep -E '"problem":|"type":"(encrypted|undecodable|incomplete)"' "$dir/decoded.json" ||
        fail "serf decode does not read all"
    echo "ok: serf decode reads all $(wc -l <"$dir/decoded.json") messages of the capture:" \
        "$(grep -o '"type":"[a-z-]*"' "$dir/decoded.json" | cut -d'"' -f4 | sort | uniq -c |
            sort -rn | awk '{ printf "%s%s %s", sep, $1, $2; sep = ", " }')"
}

# same_as_go KEY...: `serf decode` says of each message of the capture what Go's decoder says, or fail.
same_as_go() {
    [ -n "${capture:-}" ] || return 0
    RUSERF_PCAP="$dir/gossip.pcap" RUSERF_PCAP_KEYS=$(IFS=,; echo "$*") \
        cargo test --quiet -p compat-tests --test interop -- --ignored --exact --nocapture \
        tcpdump::named_capture >"$dir/compared" 2>&1 || fail "$(cat "$dir/compared")"
    grep "^ok: " "$dir/compared" || fail "nothing was compared"
}
