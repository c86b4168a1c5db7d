#!/usr/bin/env bash
# Runs icecore beside whichever of restic, rustic, borg and bupstash are installed, on a tree of yours.
#
#   benches/compare.sh TREE [WORK [CHANGE]]      WORK (default: a new directory below /tmp) takes the repositories; it is kept
#                                                CHANGE: a command that makes one night's changes in the tree
#
# For each step the tools take turns:
#   first      first backup
#   second     backup of the unchanged tree
#   night      backup after CHANGE                              (with CHANGE)
#   restore    restore of the newest snapshot into a new directory
#   back       that directory brought back to what it was before CHANGE, with each tool's way of restoring over what stands
#              there, extras deleted where it can                (with CHANGE)
# The tree is read once before, so that all find it in the page cache; after each command the disk is synced, untimed. Nothing
# is deleted between steps: ext4 looks for recently freed inodes one by one, which costs more than any tool.
# Prints wall and CPU seconds, peak memory (of the largest process) and the repository's size. `tar | zstd`, `cp -a` and `rsync`
# stand beside them as limits of the machine. TOOLS (environment) names the tools, if not all are wanted.
set -euo pipefail

tree=$(realpath "${1:?usage: compare.sh TREE [WORK [CHANGE]]}")
work=${2:-$(mktemp -d /tmp/compare.XXXXXX)}
change=${3:-}
here=$(cd "$(dirname "$0")/.." && pwd)
icecore="$here/target/release/icecore"
mkdir -p "$work"
work=$(realpath "$work")
secret="$work/secret"
[ -f "$secret" ] || echo "correct horse battery staple" >"$secret"

[ -x "$icecore" ] || cargo build --release --manifest-path "$here/Cargo.toml"
export RESTIC_PASSWORD_FILE="$secret" RESTIC_CACHE_DIR="$work/restic.cache" RUSTIC_PASSWORD_FILE="$secret"
export BORG_PASSPHRASE="correct horse battery staple" BORG_BASE_DIR="$work/borg.base" BUPSTASH_KEY="$work/bupstash.key"
export ICECORE_PASSWORD_FILE="$work/icecore.password" ICECORE_STATE_DIR="$work/icecore.state"

tools=(icecore)
for tool in ${TOOLS-restic rustic borg bupstash}; do command -v "$tool" >/dev/null && tools+=("$tool"); done

run() { # step, tool, command…: one measured run
    local step=$1 tool=$2 size failed
    shift 2
    failed=
    /usr/bin/time -q -o "$work/time" -f '%e %U %S %M' "$@" >"$work/log.$step.$tool" 2>&1 ||
        failed="  FAILED, see $work/log.$step.$tool"
    read -r wall user system memory < <(tail -n 1 "$work/time")
    size=$(du -sm "$work/$tool.repo" 2>/dev/null | cut -f1 || true)
    printf '%-9s %-9s wall %7.2f s  cpu %7.2f s  memory %5d MiB  repository %6s MiB%s\n' \
        "$step" "$tool" "$wall" "$(echo "$user + $system" | bc)" $((memory / 1024)) "${size:--}" "$failed"
    sync
}

create() {
    case $1 in
        icecore) "$icecore" init -q --repo "$work/icecore.repo" --generate-password "$ICECORE_PASSWORD_FILE" ;;
        restic) restic -q -r "$work/restic.repo" init ;;
        rustic) rustic -r "$work/rustic.repo" init ;;
        borg) borg init -e repokey-blake2 "$work/borg.repo" ;;
        bupstash) bupstash new-key -o "$BUPSTASH_KEY" && bupstash init -r "$work/bupstash.repo" ;;
    esac >/dev/null 2>&1
}

backup() { # step, tool
    case $2 in
        icecore) run "$1" icecore "$icecore" backup -q --tag "$1" --repo "$work/icecore.repo" "$tree" ;;
        restic) run "$1" restic restic -q -r "$work/restic.repo" backup --tag "$1" "$tree" ;;
        rustic) run "$1" rustic rustic -r "$work/rustic.repo" backup --tag "$1" "$tree" ;;
        borg) run "$1" borg borg create "$work/borg.repo::$1" "$tree" ;;
        bupstash) run "$1" bupstash bupstash put -q -r "$work/bupstash.repo" "step=$1" "$tree" ;;
    esac
}

restore() { # step, tool, the step whose backup is restored, options of icecore, options of rustic
    local to="$work/$2.restored"
    mkdir -p "$to"
    case $2 in
        icecore) run "$1" icecore "$icecore" restore -q --repo "$work/icecore.repo" "$(icecore_snapshot "$3")" --to "$to" $4 ;;
        restic) run "$1" restic restic -q -r "$work/restic.repo" restore latest --tag "$3" --target "$to" ;;
        rustic) run "$1" rustic rustic -r "$work/rustic.repo" restore "$(rustic_snapshot "$3")" "$to" $5 ;;
        borg) (cd "$to" && run "$1" borg borg extract "$work/borg.repo::$3") ;;
        bupstash) run "$1" bupstash bupstash restore -q -r "$work/bupstash.repo" --into "$to" "step=$3" ;;
    esac
}

icecore_snapshot() { # step
    "$icecore" snapshots --json --repo "$work/icecore.repo" |
        python3 -c 'import json, sys; print([s["id"] for s in json.load(sys.stdin)["snapshots"] if sys.argv[1] in s["tags"]][0])' "$1"
}

rustic_snapshot() { # step
    rustic -r "$work/rustic.repo" snapshots --json --filter-tags "$1" 2>/dev/null | grep -oE '"id": *"[0-9a-f]{64}"' | tail -1 | grep -oE '[0-9a-f]{64}'
}

differences() { # tree: of what icecore restored
    command -v rsync >/dev/null || return 0
    echo "differences of icecore's restored tree: $(rsync -aHAXn --delete --checksum --itemize-changes "$1/" "$work/icecore.restored/" | wc -l)"
}

echo "tree $tree: $(du -sm "$tree" | cut -f1) MiB, $(find "$tree" | wc -l) entries; work $work; $(nproc) cores"
tar -cf - -C "$tree" . | cat >/dev/null
for tool in "${tools[@]}"; do create "$tool"; done
run first tar+zstd bash -c "tar -cf - -C '$tree' . | zstd -q -3 -T2 -o '$work/tar.zst'"
for tool in "${tools[@]}"; do backup first "$tool"; done
run second find find "$tree" -printf '%s %T@ %C@ %i\n'
for tool in "${tools[@]}"; do backup second "$tool"; done
newest=second
if [ -n "$change" ]; then
    newest=night
    cp -a "$tree" "$work/before"
    bash -c "$change" >/dev/null
    sync
    for tool in "${tools[@]}"; do backup night "$tool"; done
fi
run restore cp-a cp -a "$tree" "$work/cp.restored"
for tool in "${tools[@]}"; do restore restore "$tool" "$newest" "" ""; done
differences "$tree"
if [ -n "$change" ]; then
    run back rsync-a rsync -a --delete "$work/before/" "$work/cp.restored/"
    for tool in "${tools[@]}"; do restore back "$tool" second "--in-place --delete" "--delete"; done
    differences "$work/before"
fi
