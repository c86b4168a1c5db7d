#!/usr/bin/env bash
# Forgetting and pruning beside whichever of restic, rustic and borg are installed, after some nights of a tree of yours; then reading everything back.
#
#   benches/care.sh TREE CHANGE [WORK]      CHANGE: a command that makes one night's changes in the tree
#                                           WORK (default: a new directory below /tmp) takes the repositories; it is kept
#
# Every tool backs up NIGHTS (environment; 10) nights, untimed. Then each keeps the last three snapshots and frees what nothing needs, as far as its
# own default lets it stay; icecore does it with `--now`, since the others wait for nothing. Then icecore's `check --read-data` stands beside
# `b3sum` of the repository's files. TOOLS (environment) names the tools, if not all are wanted.
set -euo pipefail

tree=$(realpath "${1:?usage: care.sh TREE CHANGE [WORK]}")
change=${2:?a command that changes the tree}
work=${3:-$(mktemp -d /tmp/care.XXXXXX)}
here=$(cd "$(dirname "$0")/.." && pwd)
icecore="$here/target/release/icecore"
[ -x "$icecore" ] || cargo build --release --manifest-path "$here/Cargo.toml"
mkdir -p "$work"
work=$(realpath "$work")
echo "correct horse battery staple" >"$work/secret"
export RESTIC_PASSWORD_FILE="$work/secret" RESTIC_CACHE_DIR="$work/restic.cache" RUSTIC_PASSWORD_FILE="$work/secret"
export BORG_PASSPHRASE="correct horse battery staple" BORG_BASE_DIR="$work/borg.base"
export ICECORE_PASSWORD_FILE="$work/icecore.password" ICECORE_STATE_DIR="$work/icecore.state" ICECORE_REPOSITORY="$work/icecore.repo"

tools=(icecore)
for tool in ${TOOLS-restic rustic borg}; do command -v "$tool" >/dev/null && tools+=("$tool"); done

create() {
    case $1 in
        icecore) "$icecore" init -q --generate-password "$ICECORE_PASSWORD_FILE" ;;
        restic) restic -q -r "$work/restic.repo" init ;;
        rustic) rustic -r "$work/rustic.repo" init ;;
        borg) borg init -e repokey-blake2 "$work/borg.repo" ;;
    esac
}

backup() { # tool, night
    case $1 in
        icecore) "$icecore" backup -q "$tree" ;;
        restic) restic -q -r "$work/restic.repo" backup "$tree" ;;
        rustic) rustic -r "$work/rustic.repo" backup "$tree" ;;
        borg) borg create "$work/borg.repo::$2" "$tree" ;;
    esac
}

care() {
    case $1 in
        icecore) "$icecore" forget -q --keep-last 3 && "$icecore" prune -q --now ;;
        restic) restic -q -r "$work/restic.repo" forget --keep-last 3 --prune ;;
        rustic) rustic -r "$work/rustic.repo" forget --keep-last 3 --prune --instant-delete ;;
        borg) borg prune --keep-last 3 "$work/borg.repo" && borg compact "$work/borg.repo" ;;
    esac
}

mebibytes() { du -sm "$1" | cut -f1; }

timed() { # name, command…
    local name=$1 failed=
    shift
    /usr/bin/time -q -o "$work/time" -f '%e %U %S %M' "$@" >"$work/log.$name" 2>&1 || failed="  FAILED, see $work/log.$name"
    read -r wall user system memory < <(tail -n 1 "$work/time")
    printf '%-22s wall %7.2f s  cpu %7.2f s  memory %5d MiB%s' "$name" "$wall" "$(echo "$user + $system" | bc)" $((memory / 1024)) "$failed"
}

export -f care
export work icecore
for tool in "${tools[@]}"; do create "$tool" >/dev/null 2>&1; done
for ((night = 1; night <= ${NIGHTS:-10}; night++)); do
    ((night == 1)) || bash -c "$change" >/dev/null
    for tool in "${tools[@]}"; do backup "$tool" "$night" >"$work/log.backup.$tool" 2>&1; done
done
sync
echo "tree $tree: $(mebibytes "$tree") MiB, $(find "$tree" | wc -l) entries, ${NIGHTS:-10} nights; work $work; $(nproc) cores"
for tool in "${tools[@]}"; do
    before=$(mebibytes "$work/$tool.repo")
    timed "$tool" bash -c "care $tool"
    printf '  repository %d MiB, before %d MiB\n' "$(mebibytes "$work/$tool.repo")" "$before"
    sync
done
timed "check --read-data" "$icecore" check -q --read-data
echo
command -v b3sum >/dev/null && timed "b3sum" bash -c "find '$work/icecore.repo' -type f -print0 | xargs -0 b3sum" && echo
