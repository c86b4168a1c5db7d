#!/usr/bin/env bash
# Runs icecore beside whichever of restic, rustic, borg and bupstash are installed, on a tree of yours.
#
#   benches/compare.sh TREE [WORK]      WORK (default: a new directory below /tmp) takes the repositories; it is kept
#
# For each step the tools take turns: first backup, second backup of the unchanged tree, restore into a new directory. The tree
# is read once before, so that all find it in the page cache; after each command the disk is synced, untimed. Nothing is deleted
# between steps: ext4 looks for recently freed inodes one by one, which costs more than any tool.
# Prints wall and CPU seconds, peak memory (of the largest process) and the repository's size. `tar | zstd` and `cp -a` stand
# beside them as limits of the machine.
set -euo pipefail

tree=$(realpath "${1:?usage: compare.sh TREE [WORK]}")
work=$(realpath "${2:-$(mktemp -d /tmp/compare.XXXXXX)}")
here=$(cd "$(dirname "$0")/.." && pwd)
icecore="$here/target/release/icecore"
mkdir -p "$work"
secret="$work/secret"
[ -f "$secret" ] || echo "correct horse battery staple" >"$secret"

[ -x "$icecore" ] || cargo build --release --manifest-path "$here/Cargo.toml"
export RESTIC_PASSWORD_FILE="$secret" RESTIC_CACHE_DIR="$work/restic.cache" RUSTIC_PASSWORD_FILE="$secret"
export BORG_PASSPHRASE="correct horse battery staple" BORG_BASE_DIR="$work/borg.base" BUPSTASH_KEY="$work/bupstash.key"
export ICECORE_PASSWORD_FILE="$work/icecore.password" ICECORE_STATE_DIR="$work/icecore.state"

tools=(icecore)
for tool in restic rustic borg bupstash; do command -v "$tool" >/dev/null && tools+=("$tool"); done

run() { # step, tool, command…: one measured run
    local step=$1 tool=$2 size
    shift 2
    if ! /usr/bin/time -o "$work/time" -f '%e %U %S %M' "$@" >"$work/log.$step.$tool" 2>&1; then
        printf '%-9s %-9s FAILED, see %s\n' "$step" "$tool" "$work/log.$step.$tool"
        return
    fi
    read -r wall user system memory < <(tail -n 1 "$work/time")
    size=$(du -sm "$work/$tool.repo" 2>/dev/null | cut -f1 || true)
    printf '%-9s %-9s wall %7.2f s  cpu %7.2f s  memory %5d MiB  repository %6s MiB\n' \
        "$step" "$tool" "$wall" "$(echo "$user + $system" | bc)" $((memory / 1024)) "${size:--}"
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
        icecore) run "$1" icecore "$icecore" backup -q --repo "$work/icecore.repo" "$tree" ;;
        restic) run "$1" restic restic -q -r "$work/restic.repo" backup "$tree" ;;
        rustic) run "$1" rustic rustic -r "$work/rustic.repo" backup "$tree" ;;
        borg) run "$1" borg borg create "$work/borg.repo::$1" "$tree" ;;
        bupstash) run "$1" bupstash bupstash put -q -r "$work/bupstash.repo" "step=$1" "$tree" ;;
    esac
}

restore() {
    local to="$work/$1.restored"
    case $1 in
        icecore) run restore icecore "$icecore" restore -q --repo "$work/icecore.repo" latest --to "$to" ;;
        restic) run restore restic restic -q -r "$work/restic.repo" restore latest --target "$to" ;;
        rustic) run restore rustic rustic -r "$work/rustic.repo" restore latest "$to" ;;
        borg) mkdir -p "$to" && (cd "$to" && run restore borg borg extract "$work/borg.repo::second") ;;
        bupstash) mkdir -p "$to" && run restore bupstash bupstash restore -q -r "$work/bupstash.repo" --into "$to" step=second ;;
    esac
}

echo "tree $tree: $(du -sm "$tree" | cut -f1) MiB, $(find "$tree" | wc -l) entries; work $work; $(nproc) cores"
tar -cf - -C "$tree" . | cat >/dev/null
for tool in "${tools[@]}"; do create "$tool"; done
run first tar+zstd bash -c "tar -cf - -C '$tree' . | zstd -q -3 -T2 -o '$work/tar.zst'"
for tool in "${tools[@]}"; do backup first "$tool"; done
run second find find "$tree" -printf '%s %T@ %C@ %i\n'
for tool in "${tools[@]}"; do backup second "$tool"; done
run restore cp-a cp -a "$tree" "$work/cp.restored"
for tool in "${tools[@]}"; do restore "$tool"; done
if command -v rsync >/dev/null; then
    echo "differences of icecore's restored tree: $(rsync -aHAXn --delete --checksum --itemize-changes "$tree/" "$work/icecore.restored/" | wc -l)"
fi
