#!/bin/sh
# Makes what burnbag needs in MinIO: a bucket that nobody reads anonymously and that keeps no versions, a user of its own
# with the rights of policy.json, and a lifecycle as the last net. Again, it changes nothing but what differs: another
# secret key, policy or BURNBAG_EXPIRES_MAX.
#
# It needs `mc` and the shell's usual company, so that it runs in MinIO's own image. Settings, each also as X_FILE, the name of a file:
#   MINIO_URL               http://minio:9000
#   MINIO_ROOT_USER         who may make buckets, users and policies
#   MINIO_ROOT_PASSWORD
#   BURNBAG_S3_BUCKET       burnbag
#   BURNBAG_S3_ACCESS_KEY   of burnbag's user
#   BURNBAG_S3_SECRET_KEY
#   BURNBAG_EXPIRES_MAX     7d: as burnbag has it
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

die() {
    printf 'minio/init.sh: %s\n' "$*" >&2
    exit 1
}

# The setting $1, or the content of the file that $1_FILE names, or $2.
setting() {
    eval "value=\${$1:-} file=\${$1_FILE:-}"
    if [ -z "$value" ] && [ -n "$file" ]; then
        value=$(cat "$file")
    fi
    value=${value:-${2:-}}
    [ -n "$value" ] || die "$1 is not set: set it, or $1_FILE"
    printf %s "$value"
}

# The text of the file $1 with each $2 replaced by $3.
filled() {
    rest=$(cat "$here/$1") text=
    while [ "$rest" != "${rest#*"$2"}" ]; do
        text=$text${rest%%"$2"*}$3
        rest=${rest#*"$2"}
    done
    printf '%s\n' "$text$rest"
}

# Whole days, rounded up, of a time such as 90s, 15m, 36h or 7d.
days() {
    number=${1%[smhd]}
    case $number in '' | *[!0-9]*) die "BURNBAG_EXPIRES_MAX is $1: it takes a time such as 36h or 7d" ;; esac
    case $1 in
        *s) unit=86400 ;;
        *m) unit=1440 ;;
        *h) unit=24 ;;
        *d) unit=1 ;;
        *) die "BURNBAG_EXPIRES_MAX is $1: it takes a time such as 36h or 7d" ;;
    esac
    printf %s $(((number + unit - 1) / unit))
}

url=$(setting MINIO_URL http://minio:9000)
root=$(setting MINIO_ROOT_USER)
password=$(setting MINIO_ROOT_PASSWORD)
bucket=$(setting BURNBAG_S3_BUCKET burnbag)
user=$(setting BURNBAG_S3_ACCESS_KEY)
secret=$(setting BURNBAG_S3_SECRET_KEY)
case $root$password in *[!A-Za-z0-9._~-]*) die "MINIO_ROOT_USER and MINIO_ROOT_PASSWORD must be of letters, digits and ._~- here" ;; esac
# An upload may run, or a draft wait, for 7 days. Then the file lives for BURNBAG_EXPIRES_MAX. The server counts from midnight,
# and burnbag may be away for a while: 2 days more.
expires=$(setting BURNBAG_EXPIRES_MAX 7d)
expires=$(days "$expires")
days=$((7 + expires + 2))

# Secrets reach mc by its environment and standard input: arguments can be seen by every process. It writes only here.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export MC_CONFIG_DIR="$scratch"
export MC_HOST_store="${url%%://*}://$root:$password@${url#*://}"

# Quiet, but for errors: it says "created" also of what was there.
mc() { command mc "$@" >/dev/null; }

timeout 60 mc ready store >/dev/null || die "$url does not answer"
mc mb --ignore-existing "store/$bucket"
mc anonymous set private "store/$bucket"
case $(command mc version info "store/$bucket") in
    *enabled* | *suspended*)
        echo "note: $bucket keeps versions. burnbag deletes each one, but a bucket that never kept any is simpler: make a new one if you can"
        ;;
esac
filled lifecycle.json DAYS "$days" >"$scratch/lifecycle.json"
mc ilm rule import "store/$bucket" <"$scratch/lifecycle.json"

printf '%s\n%s\n' "$user" "$secret" | mc admin user add store
filled policy.json BUCKET "$bucket" >"$scratch/policy.json"
mc admin policy create store "burnbag-$bucket" "$scratch/policy.json"
# To some releases, attaching once more is an error.
case $(command mc admin user info store "$user") in
    *"burnbag-$bucket"*) ;;
    *) mc admin policy attach store "burnbag-$bucket" --user "$user" ;;
esac
printf 'the bucket %s is ready; objects older than %s days are deleted by the server itself\n' "$bucket" "$days"
