# shellcheck shell=bash disable=SC2034,SC2154,SC2030,SC2031 # sourced; here, out, native, work, LEVEL: corpus/build
# What corpus/build takes from Debian: sources, compilers of other releases, and packages as they are. Sourced by it.

# package_of PROJECT source|dev
package_of() { awk -v project="$1" -v column="$2" '$1 == project {print column == "dev" ? $3 : $2}' <<<"$PROJECTS"; }

mirror() {
    local uri=${MIRROR:-}
    [ -n "$uri" ] || uri=$(apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' 'Label: Debian' 'Component: main' | head -1)
    [ -n "$uri" ] && echo "$uri"
}

# apt_of RELEASE ARCH|source TOOL ARGUMENT...: apt with sources and state of its own, so that the system's stay as they are.
apt_of() {
    local d=$out/.apt/$1-$2 type=deb arch=$2 uri
    [ "$2" != source ] || type=deb-src arch=$native
    local options=(-q -o "Dir::Etc::sourcelist=$d/sources.list" -o Dir::Etc::sourceparts=/dev/null -o "Dir::State::lists=$d/lists"
        -o "Dir::State::status=$d/status" -o "Dir::Cache=$d/cache" -o "APT::Architecture=$arch" -o "APT::Architectures=$arch"
        -o Dir::Cache::pkgcache=pkgcache.bin -o Dir::Cache::srcpkgcache=srcpkgcache.bin
        -o "APT::Sandbox::User=$(id -un)" -o Acquire::Retries=3)
    if [ ! -f "$d/updated" ]; then
        uri=$(mirror) && mkdir -p "$d/lists/partial" "$d/cache/archives/partial" && : >"$d/status" || return
        echo "$type [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg check-valid-until=no] $uri $1 main" >"$d/sources.list"
        apt-get "${options[@]}" -o APT::Update::Error-Mode=any update && : >"$d/updated" || return
    fi
    "$3" "${options[@]}" "${@:4}"
}

# upstream VERSION: 1:2.9.14+dfsg-1.3~deb12u6 -> 2.9.14
upstream() { sed -E 's/^[0-9]+://; s/-[^-]*$//; s/[+](dfsg|ds|really).*//' <<<"$1"; }

# fetch RELEASE PROJECT SRC: Debian's patched source as SRC.tar.gz (a folder "tree") and its upstream version as SRC.version
fetch() {
    [ -f "$3.tar.gz" ] || fetch_new "$@" >"$out/log/$2-$1.fetch" 2>&1
}
fetch_new() (
    work=$out/.work/fetch package=$(package_of "$2" source)
    rm -rf "$work" && mkdir -p "$work" && cd "$work" || exit
    apt_of "$1" source apt-get source --download-only "$package" && dpkg-source -x ./*.dsc tree || exit
    upstream "$(sed -n 's/^Version: //p' ./*.dsc | head -1)" >"$3.version"
    # Patched inputs look newer than what autotools made of them; one time for all keeps make from calling autotools.
    tar --mtime=@1700000000 --owner=0 --group=0 -czf "$3.tar.gz.new" tree && mv "$3.tar.gz.new" "$3.tar.gz" && rm -rf "$work"
)

# toolchain ARCH COMPILER RELEASE: sets CC, HOST (empty for this machine's own architecture), OBJCOPY and root, where they are. What this
# machine has of its own release runs as it is (root is empty). Anything else gets a small system of its own below OUT/.root, which is
# entered in a mount namespace: nothing is installed and nothing stays mounted, whatever happens. Making it takes root's rights.
toolchain() {
    local packages=$2
    CC=$2 HOST="" OBJCOPY=objcopy root=""
    if [ "$1" != "$native" ]; then
        HOST=$(dpkg-architecture -f -a "$1" -q DEB_HOST_GNU_TYPE) || return
        CC=$HOST-$2 OBJCOPY=$HOST-objcopy
        packages=$2-${HOST//_/-},libc6-dev-$1-cross
    fi
    [ "$3" = "$own_release" ] && command -v "$CC" >/dev/null && return
    root=$out/.root/$3-$CC
    [ -d "$root" ] || root_new "$3" "$packages" >"$out/log/root-$3-$CC" 2>&1
}
own_release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")

# root_new RELEASE PACKAGE,...: a minimal system at $root with these and what the recipes need.
root_new() (
    packages=$2,$(awk '$1 == "corpus-build" {print $2}' "$here/../tools/packages.txt" | paste -sd,)
    rm -rf "$root.new" && mkdir -p "$root.new" && uri=$(mirror) || exit
    unshare --mount --propagation private debootstrap --variant=minbase --include="$packages" "$1" "$root.new" "$uri" || exit
    rm -rf "$root.new"/var/cache/apt/archives/*.deb "$root.new"/usr/share/{doc,man,locale}
    mkdir "$root.new/work" && mv "$root.new" "$root"
)

# enter COMMAND...: where the toolchain is, with $work as the folder WORK and nothing of this machine's environment. Stops with this
# process.
enter() {
    local at=$work rights=() go=()
    if [ -n "$root" ]; then
        [ "$(id -u)" = 0 ] || rights=(--map-root-user)
        at=/work
        # shellcheck disable=SC2016 # for the shell within
        go=(unshare --mount --pid --fork --kill-child --propagation private "${rights[@]}" sh -c 'root=$1 work=$2 && shift 2 &&
            mount --bind "$work" "$root/work" && mount --rbind /dev "$root/dev" && mount --rbind /proc "$root/proc" &&
            exec chroot "$root" "$@"' enter "$root" "$work")
    fi
    timeout --verbose -k 2 "${LIMIT:-5400}" "${go[@]}" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C HOME=/nonexistent \
        WORK="$at" KEEP="$at/keep" CC="$CC" HOST="$HOST" OBJCOPY="$OBJCOPY" LEVEL="$LEVEL" "$@" &
    # shellcheck disable=SC2064 # this process, now
    trap "kill $! 2>/dev/null; wait $!; exit 143" TERM
    wait $!
}

# archives RELEASE COMPILER ARCH "PROJECT...": the static archives (with names) of the projects' -dev packages, as cells of Debian's own
# making. COMPILER is what that release builds with, at -O2.
archives() {
    local project package version cell name=$1.$3
    apt_of "$1" "$3" true >"$out/log/$name.apt" 2>&1 || { fail "$name: no list of packages; see $out/log/$name.apt"; return; }
    for project in $4; do
        package=$(package_of "$project" dev)
        version=$(apt_of "$1" "$3" apt-cache show --no-all-versions "$package" 2>>"$out/log/$name.apt" | sed -n 's/^Version: //p')
        cell=$project-$(upstream "$version")/$3-$2-O2
        if [ -z "$version" ]; then
            fail "$name: no $package"
        elif [[ $3-$2-O2 =~ ${CELLS:-.} ]] && [ ! -d "$out/$cell" ]; then
            if archive "$1" "$3" "$package" "$out/$cell" >"$out/log/$name.$project" 2>&1; then
                say "$cell"
            else
                fail "$cell: $package of $1; see $out/log/$name.$project"
            fi
        fi
    done
}

# archive RELEASE ARCH PACKAGE CELL: thin archives and those of a few bytes are no archives of code.
archive() (
    work=$out/.work/archive-$1-$2
    rm -rf "$work" && mkdir -p "$work/keep" "$(dirname "$4")" && cd "$work" || exit
    apt_of "$1" "$2" apt-get download "$3" && dpkg-deb -x ./*.deb tree || exit
    find tree -name '*.a' -type f -size +4k -print0 | while IFS= read -r -d '' a; do
        [ "$(head -c 7 "$a")" = '!<arch>' ] && cp "$a" keep/
    done
    [ -n "$(ls keep)" ] || { echo "no static archive"; exit 1; }
    chmod 644 keep/* && mv keep "$4" && rm -rf "$work"
)
