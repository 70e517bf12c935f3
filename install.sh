#!/bin/sh
# Installs the program `flash` for your user, on Linux.
#
#   FLASH_INSTALL_URL   where the archives and SHA256SUMS are (default: the latest release of the repository)
#   FLASH_INSTALL_DIR   where the program goes (default: ~/.local/bin)
#
# Nothing is put there before the checksum of the archive is right.
set -eu

fail() {
    printf 'error: %s\n' "$1" >&2
    [ -z "${2:-}" ] || printf '  hint: %s\n' "$2" >&2
    exit 1
}

platform() {
    system=$(uname -s) machine=$(uname -m)
    case "$system/$machine" in
        Linux/x86_64 | Linux/amd64) echo x86_64-unknown-linux-musl ;;
        Linux/aarch64 | Linux/arm64) echo aarch64-unknown-linux-musl ;;
        *) fail "there is no program for $system on $machine" \
            'compile it in a checkout of the repository: cargo install --path flash-cli --locked' ;;
    esac
}

# Without encryption, whoever is on the way could change the archive and its checksum.
check_address() {
    case $1 in
        https://*) ;;
        http://localhost/* | http://localhost:* | http://127.0.0.1/* | http://127.0.0.1:*) ;;
        *) fail "FLASH_INSTALL_URL is '$1'" 'expected an address that begins with https://' ;;
    esac
}

fetch() {
    if command -v curl >/dev/null; then
        curl --fail --silent --show-error --location --proto-redir '=https' --output "$2" "$1"
    elif command -v wget >/dev/null; then
        wget --quiet --output-document="$2" "$1"
    else
        fail 'there is neither curl nor wget' 'install one of them'
    fi || fail "cannot download $1" 'look at the address in a browser; FLASH_INSTALL_URL names another'
}

sum_of() {
    if command -v sha256sum >/dev/null; then
        sha256sum "$1"
    elif command -v shasum >/dev/null; then
        shasum -a 256 "$1"
    else
        fail 'there is neither sha256sum nor shasum to check the archive with' 'install one of them'
    fi
}

verify() {
    expected=$(awk -v name="$2" '$2 == name { print $1 }' "$3")
    [ -n "$expected" ] || fail "SHA256SUMS does not list $2" 'the release lacks this platform'
    found=$(sum_of "$1")
    found=${found%% *}
    [ "$found" = "$expected" ] ||
        fail "the checksum of $2 is $found, and not $expected: nothing was installed" 'download it again; if it stays, tell the maintainers'
}

main() {
    base=${FLASH_INSTALL_URL:-https://github.com/flash-rs/flash/releases/latest/download}
    base=${base%/}
    into=${FLASH_INSTALL_DIR:-${HOME:?}/.local/bin}
    target=$(platform)
    check_address "$base"
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    trap 'exit 1' HUP INT TERM
    archive=flash-$target.tar.gz
    fetch "$base/SHA256SUMS" "$work/SHA256SUMS"
    fetch "$base/$archive" "$work/$archive"
    verify "$work/$archive" "$archive" "$work/SHA256SUMS"
    tar -xzf "$work/$archive" -C "$work" "flash-$target/flash"
    mkdir -p "$into"
    # A program that runs cannot be overwritten, but replaced.
    new=$into/.flash-$$
    cp "$work/flash-$target/flash" "$new"
    chmod 755 "$new"
    mv -f "$new" "$into/flash"
    printf 'installed %s\n' "$into/flash"
    case ":$PATH:" in
        *":$into:"*) ;;
        *) printf 'add it to your PATH: export PATH="%s:$PATH"\n' "$into" ;;
    esac
}

# Last: a script that arrives in part does nothing.
main
