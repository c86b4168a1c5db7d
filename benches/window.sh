#!/usr/bin/env bash
# How long an application is frozen for one night's backup: icecore's window beside a hook that freezes, runs restic or rustic, and thaws.
#
#   benches/window.sh TREE CHANGE [CAPTURE...]      CHANGE: a command that makes one night's changes in the tree
#                                                   CAPTURE: hold, clone, snapshot (default: hold); the tree's file system must have it
#
# Everything is backed up once before, untimed. Then CHANGE runs before each measured backup, and the tools take turns: each meets a
# night of the same kind. The freezer's programs return at once, so what is measured is what the backup adds. `find -printf` of the
# tree stands beside it, the least that a point-in-time list costs, and `b3sum` of what CHANGE wrote, the least that reading it costs.
# Environment: ROUNDS; PEERS="" leaves the others out; WORK takes the repositories, and is kept; WARM_ROUNDS=0 leaves all that CHANGE wrote hot for the window.
set -euo pipefail

tree=$(realpath "${1:?usage: window.sh TREE CHANGE [CAPTURE...]}")
change=${2:?a command that changes the tree}
shift 2
captures=("${@:-hold}")
rounds=${ROUNDS:-3}
work=$(realpath "${WORK:-$(mktemp -d /tmp/window.XXXXXX)}")
here=$(cd "$(dirname "$0")/.." && pwd)
icecore="$here/target/release/icecore"
[ -x "$icecore" ] || cargo build --release --manifest-path "$here/Cargo.toml"
mkdir -p "$work"
echo "correct horse battery staple" >"$work/secret"
export RESTIC_PASSWORD_FILE="$work/secret" RESTIC_CACHE_DIR="$work/restic.cache" RUSTIC_PASSWORD_FILE="$work/secret"
export ICECORE_PASSWORD_FILE="$work/icecore.password" ICECORE_STATE_DIR="$work/icecore.state"

peers=()
hasher=(b3sum)
command -v b3sum >/dev/null || hasher=(sha256sum)
for tool in ${PEERS-restic rustic}; do command -v "$tool" >/dev/null && peers+=("$tool"); done

config() { # capture
    cat >"$work/$1.toml" <<TOML
[[instance]]
name = "$1"
roots = { base = "$tree" }
capture = "$1"
max-freeze = "5m"
${WARM_ROUNDS:+warm-rounds = $WARM_ROUNDS}
[instance.freezer]
kind = "command"
freeze = ["/bin/true"]
thaw = ["/bin/true"]
TOML
}

ours() { # capture: one backup; prints its window, its prediction and what was hot
    "$icecore" --config "$work/$1.toml" --repo "$work/icecore.repo" backup -i "$1" --json 2>"$work/log.$1" |
        python3 -c '
import json, sys
receipt = json.load(sys.stdin)["instances"][0]["snapshot"]["receipt"]
print(receipt["window_ms"], receipt["predicted_ms"], receipt["hot_files"], receipt["hot_bytes"])'
}

hooked() { # tool
    case $1 in
        restic) restic -q -r "$work/restic.repo" backup "$tree" ;;
        rustic) rustic -r "$work/rustic.repo" backup "$tree" ;;
    esac >"$work/log.$1" 2>&1
}

milliseconds() { # command…: how long it takes
    local begun
    begun=$(date +%s%N)
    "$@" >/dev/null
    echo $((($(date +%s%N) - begun) / 1000000))
}

echo "tree $tree: $(du -sm "$tree" | cut -f1) MiB, $(find "$tree" | wc -l) entries; work $work; $(nproc) cores"
"$icecore" init -q --repo "$work/icecore.repo" --generate-password "$ICECORE_PASSWORD_FILE" 2>/dev/null
for capture in "${captures[@]}"; do config "$capture" && ours "$capture" >/dev/null; done
for tool in "${peers[@]}"; do
    case $tool in
        restic) restic -q -r "$work/restic.repo" init ;;
        rustic) rustic -r "$work/rustic.repo" init ;;
    esac >/dev/null 2>&1
    hooked "$tool"
done
for ((round = 1; round <= rounds; round++)); do
    for capture in "${captures[@]}"; do
        touch "$work/before"
        bash -c "$change" >/dev/null
        read -r window predicted files bytes < <(ours "$capture")
        walk=$(milliseconds find "$tree" -printf '%s %T@ %C@ %i\n')
        find "$tree" -type f -cnewer "$work/before" -print0 >"$work/written"
        hashing=$(milliseconds xargs -0 -r -a "$work/written" "${hasher[@]}")
        printf 'night %d  %-9s frozen %6d ms  (predicted %d ms, %d hot files of %d bytes; find -printf %d ms; %s of the %d files written %d ms)\n' \
            "$round" "$capture" "$window" "$predicted" "$files" "$bytes" "$walk" "${hasher[0]}" "$(tr -cd '\0' <"$work/written" | wc -c)" "$hashing"
    done
    for tool in "${peers[@]}"; do
        bash -c "$change" >/dev/null
        printf 'night %d  %-9s frozen %6d ms  (hook around the whole backup)\n' "$round" "$tool" "$(milliseconds hooked "$tool")"
    done
done
