#!/bin/sh
# Makes the secrets of docker-compose.yml in ./secrets, or in the directory named; what is there already stays.
#
# Containers run as users of their own and read these files as they are here: so each file can be read by all, and the
# directory is entered by its owner alone.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
secrets=${1:-$here/../secrets}
umask 077
mkdir -p "$secrets"
chmod 700 "$secrets"

# $1 bytes at random, as hex.
random() { od -An -N "$1" -tx1 /dev/urandom | tr -d ' \n'; }

sha256() {
    if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi | cut -d ' ' -f 1
}

# Writes standard input to the secret $1 if there is none. A file that was cut short never stands under its name.
keep() {
    if [ -e "$secrets/$1" ]; then
        cat >/dev/null
        return
    fi
    cat >"$secrets/.$1"
    chmod 444 "$secrets/.$1"
    mv "$secrets/.$1" "$secrets/$1"
    echo "made $secrets/$1"
}

printf '1 %s\n' "$(random 32)" | keep kek
random 12 | keep minio_root_user
random 32 | keep minio_root_password
random 12 | keep s3_access_key
random 32 | keep s3_secret_key
random 32 | keep redis_password

# These two follow from the password, and from the rights of this version. Redis itself knows only the hash.
rm -f "$secrets/redis_url" "$secrets/redis_users.acl"
printf 'redis://burnbag:%s@redis:6379/0\n' "$(cat "$secrets/redis_password")" | keep redis_url
hash=$(sha256 <"$secrets/redis_password")
sed "s/PASSWORD_SHA256/$hash/" "$here/redis/users.acl" | keep redis_users.acl

echo "keep a copy of $secrets/kek apart from every other backup: without it no file can be opened"
