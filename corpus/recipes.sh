# shellcheck shell=bash disable=SC2034 # sourced
# Recipes of corpus/build, sourced by it. One project a pair of functions:
#   NAME_configure  once an architecture and compiler, in a fresh copy of the source tree
#   NAME_compile    once a level, in the same tree; leaves the files to keep in $KEEP
# and one line in the table. Known to both: CC, HOST (empty for the native one), LEVEL ("-O2"), KEEP, WORK (scratch of this tree).
#
# Hand-written assembly is switched off everywhere: it would be the same bytes at every level.
# Where a configure script and libtool would take longer than the compiler, the sources are compiled directly.

# project, Debian's source package, its -dev package with static archives
PROJECTS='
lua          lua5.4         liblua5.4-dev
expat        expat          libexpat1-dev
libpng       libpng1.6      libpng-dev
pcre2        pcre2          libpcre2-dev
zstd         libzstd        libzstd-dev
mbedtls      mbedtls        libmbedtls-dev
readline     readline       libreadline-dev
sqlite       sqlite3        libsqlite3-dev
libxml2      libxml2        libxml2-dev
nettle       nettle         nettle-dev
openssl      openssl        libssl-dev
binutils     binutils       binutils-dev
coreutils    coreutils      -
curl         curl           libcurl4-openssl-dev
gsl          gsl            libgsl-dev
openmpi      openmpi        -
valgrind     valgrind       valgrind
gmp          gmp            libgmp-dev
libgcrypt    libgcrypt20    libgcrypt20-dev
glib         glib2.0        libglib2.0-dev
ncurses      ncurses        libncurses-dev
libunistring libunistring   libunistring-dev
'
# so NAME "FLAGS" FILE...: compiles each file position-independent at $LEVEL and links all into $KEEP/NAME.
# Symbols of other libraries stay undefined, so no library but libc is needed for any architecture.
so() {
    local name=$1 flags=$2 f o
    shift 2
    rm -rf "$WORK/obj" && mkdir "$WORK/obj"
    for f; do
        o=$WORK/obj/${f//\//_}.o
        # shellcheck disable=SC2086
        $CC $LEVEL -fPIC -w $flags -c -o "$o" "$f" || return
    done
    $CC -shared -o "$KEEP/$name" "$WORK"/obj/*.o
}

# gnu_configure ARG...: an autoconf script for $HOST, without the static half.
gnu_configure() {
    ./configure ${HOST:+--host="$HOST"} --disable-static --enable-shared "$@" CC="$CC" CFLAGS=-O1
}

# gnu_make DIR ARG...: everything below DIR anew at $LEVEL, past the flags that configure saw.
gnu_make() {
    local dir=$1
    shift
    make -s -C "$dir" clean >/dev/null && make -s -C "$dir" CFLAGS="$LEVEL -w" "$@"
}

# A header that Debian's rules write.
lua_configure() { echo '#define DEB_HOST_MULTIARCH "none"' >src/lua5.4-deb-multiarch.h; }
lua_compile() {
    local f=() x
    for x in src/l*.c; do
        case $x in src/lua.c | src/luac.c) ;; *) f+=("$x") ;; esac
    done
    so liblua.so "-DLUA_USE_LINUX -DLUA_COMPAT_5_3" "${f[@]}"
}

expat_configure() { : >expat/lib/expat_config.h; }
expat_compile() {
    so libexpat.so "-Iexpat/lib -DXML_NS -DXML_DTD -DXML_CONTEXT_BYTES=1024 -DBYTEORDER=1234 -DHAVE_MEMMOVE -DXML_DEV_URANDOM" \
        expat/lib/xmlparse.c expat/lib/xmlrole.c expat/lib/xmltok.c
}

# zlib.h comes from the native zlib1g-dev, which says the same for every architecture.
libpng_configure() { cp scripts/pnglibconf.h.prebuilt pnglibconf.h; }
libpng_compile() {
    so libpng16.so "-I. -idirafter /usr/include -DPNG_ARM_NEON_OPT=0 -DPNG_INTEL_SSE_OPT=0 -DPNG_MIPS_MSA_OPT=0" \
        png.c pngerror.c pngget.c pngmem.c pngpread.c pngread.c pngrio.c pngrtran.c pngrutil.c pngset.c pngtrans.c \
        pngwio.c pngwrite.c pngwtran.c pngwutil.c
}

pcre2_configure() {
    cp src/config.h.generic src/config.h && cp src/pcre2.h.generic src/pcre2.h &&
        cp src/pcre2_chartables.c.dist src/pcre2_chartables.c
}
pcre2_compile() {
    local f=() x
    for x in auto_possess chartables compile config context convert dfa_match error extuni find_bracket maketables match \
        match_data newline ord2utf pattern_info script_run serialize string_utils study substitute substring tables \
        ucd valid_utf xclass; do
        f+=("src/pcre2_$x.c")
    done
    so libpcre2-8.so "-Isrc -DHAVE_CONFIG_H -DPCRE2_CODE_UNIT_WIDTH=8 -DSUPPORT_UNICODE" "${f[@]}" src/pcre2posix.c
}

zstd_configure() { :; }
zstd_compile() {
    so libzstd.so "-Ilib -Ilib/common -DZSTD_DISABLE_ASM -DXXH_NAMESPACE=ZSTD_ -DZSTD_LEGACY_SUPPORT=0 -DDYNAMIC_BMI2=0" \
        lib/common/*.c lib/compress/*.c lib/decompress/*.c lib/dictBuilder/*.c
}

mbedtls_configure() {
    sed -i -E 's,^#define (MBEDTLS_HAVE_ASM|MBEDTLS_AESNI_C|MBEDTLS_PADLOCK_C),//&,' include/mbedtls/config.h
}
mbedtls_compile() { so libmbedtls.so "-Iinclude -Ilibrary" library/*.c; }

readline_configure() { gnu_configure --without-curses --disable-multibyte; }
readline_compile() {
    local f=() x
    for x in *.c; do
        case $x in emacs_keymap.c | vi_keymap.c) ;; *) f+=("$x") ;; esac
    done
    so libreadline.so "-DHAVE_CONFIG_H -DREADLINE_LIBRARY -I." "${f[@]}"
}

# The amalgamation is one C file for all; tclsh writes it.
sqlite_configure() { ./configure --disable-tcl && make -s sqlite3.c; }
sqlite_compile() {
    so libsqlite3.so "-I. -DSQLITE_ENABLE_FTS3 -DSQLITE_ENABLE_FTS5 -DSQLITE_ENABLE_RTREE -DSQLITE_ENABLE_SESSION -DSQLITE_ENABLE_PREUPDATE_HOOK -DSQLITE_ENABLE_DBSTAT_VTAB -DSQLITE_THREADSAFE=1" sqlite3.c
}

libxml2_configure() {
    gnu_configure --without-python --without-zlib --without-lzma --without-icu --without-iconv --with-legacy --with-threads
}
libxml2_compile() {
    local f=() x
    for x in *.c; do
        case $x in run*.c | test*.c | trio*.c | xmlcatalog.c | xmllint.c) ;; *) f+=("$x") ;; esac
    done
    so libxml2.so "-DHAVE_CONFIG_H -I. -Iinclude -D_REENTRANT" "${f[@]}"
}

# Without GMP: the symmetric half.
nettle_configure() { gnu_configure --disable-assembler --disable-public-key --disable-documentation --disable-openssl; }
nettle_compile() { gnu_make . libnettle.so && cp -L libnettle.so "$KEEP/"; }

# Its Configure takes the level among its own arguments; without no-asm it would be assembly of its own for each processor.
openssl_configure() { :; }
openssl_compile() {
    local target=linux-x86_64
    case $HOST in
        "") ;;
        arm-*) target=linux-armv4 ;;
        aarch64-*) target=linux-aarch64 ;;
        i686-*) target=linux-x86 ;;
        mipsel-*) target=linux-mips32 ;;
    esac
    { [ ! -f Makefile ] || make -s clean >/dev/null; } && ./Configure "$target" no-tests no-asm shared "$LEVEL" &&
        make -s build_generated && make -s libcrypto.so libssl.so && cp -L libcrypto.so.[0-9]* libssl.so.[0-9]* "$KEEP/"
}

# Shared, so that the programs do not repeat libbfd.
binutils_configure() {
    gnu_configure --disable-nls --disable-gdb --disable-gdbserver --disable-sim --disable-gold --disable-gprofng --disable-plugins \
        --disable-werror --without-zstd --without-system-zlib MAKEINFO=true
}
binutils_compile() {
    local x
    gnu_make . all-gas all-ld all-binutils all-gprof MAKEINFO=true && cp bfd/.libs/libbfd-*.so opcodes/.libs/libopcodes-*.so "$KEEP/" || return
    for x in gas/as-new ld/ld-new gprof/gprof binutils/{ar,nm-new,objcopy,objdump,readelf}; do
        # A script where libtool linked something shared; the program is in .libs then.
        cp "${x%/*}/.libs/${x#*/}" "$KEEP/" 2>/dev/null || cp "$x" "$KEEP/" || return
    done
}

# One program of all, whose main functions have names of their own. Root may run this configure script.
coreutils_configure() {
    FORCE_UNSAFE_CONFIGURE=1 ./configure ${HOST:+--host="$HOST"} --enable-single-binary --disable-nls --disable-acl --disable-xattr \
        --disable-libcap --without-selinux --without-libgmp --with-openssl=no CC="$CC" CFLAGS=-O1
}
coreutils_compile() { gnu_make . all man1_MANS= MAKEINFO=true && cp src/coreutils "$KEEP/"; }

# Debian's source has no configure script; cmake finds out the same.
curl_configure() {
    cmake -S . -B b -DCMAKE_C_COMPILER="$CC" -DCURL_ENABLE_SSL=OFF -DCURL_ZLIB=OFF -DCURL_USE_LIBSSH2=OFF -DUSE_LIBIDN2=OFF \
        -DCURL_DISABLE_LDAP=ON -DBUILD_SHARED_LIBS=ON -DPICKY_COMPILER=OFF
}
curl_compile() {
    local flags="-DHAVE_CONFIG_H -Ib/lib -Iinclude -Ilib"
    so libcurl.so "$flags -DBUILDING_LIBCURL" lib/*.c lib/v*/*.c && so curl.so "$flags -Isrc" src/*.c
}

# The files that its makefiles name; the other .c files are included by these.
gsl_configure() { gnu_configure && make -s -C gsl; }
gsl_compile() {
    local f=() x name
    for x in Makefile.am */Makefile.am; do
        for name in $(sed ':a; /\\$/ {N; s/\\\n//; ta}' "$x" | sed -n 's/^libgsl[a-z0-9_]*_la_SOURCES *=//p'); do
            [[ $name != *.c ]] || f+=("${x%Makefile.am}$name")
        done
    done
    so libgsl.so "-DHAVE_CONFIG_H -I." "${f[@]}"
}

# Debian's source has no manual, but its configure script wants a makefile there.
gmp_configure() { mkdir -p doc && echo 'all clean:' >doc/Makefile.in && gnu_configure --disable-assembly; }
gmp_compile() { gnu_make . all && cp -L .libs/libgmp.so "$KEEP/"; }

ncurses_configure() {
    ./configure ${HOST:+--host="$HOST"} --with-shared --without-normal --without-debug --without-ada --without-cxx --without-cxx-binding \
        --without-manpages --without-progs --without-tests --disable-widec CC="$CC" CFLAGS=-O1
}
ncurses_compile() { gnu_make . libs && cp lib/*.so.?.? "$KEEP/"; }

# VEX, the core and each tool, in C: what is assembly here cannot be had otherwise, and the preloaded halves are nothing else.
valgrind_configure() { gnu_configure --enable-only64bit && make -s include/vgversion.h; }
valgrind_compile() {
    local flags="-DHAVE_CONFIG_H -DVGA_amd64=1 -DVGO_linux=1 -DVGP_amd64_linux=1 -DVGPV_amd64_linux_vanilla=1 -I. -Iinclude -Icoregrind -IVEX/pub"
    local f x part
    for part in VEX/priv memcheck helgrind drd callgrind massif dhat; do
        f=()
        for x in "$part"/*.c; do
            case $x in *multiarch_* | *_intercepts.c | *_replace_strmem.c | *_asm.c | *_initializer.c) ;; *) f+=("$x") ;; esac
        done
        so "${part%/priv}.so" "$flags -IVEX/priv -Icachegrind" "${f[@]}" || return
    done
    so coregrind.so "$flags" coregrind/m_*.c coregrind/m_*/*.c
}

# Its components inside its libraries, without Fortran.
openmpi_configure() {
    gnu_configure --disable-dlopen --enable-mpi-fortran=no --disable-oshmem --disable-mpi-java --disable-man-pages --without-verbs \
        --with-hwloc=internal --with-libevent=internal --with-pmix=internal
}
openmpi_compile() { gnu_make . all && cp -L opal/.libs/libopen-pal.so orte/.libs/libopen-rte.so ompi/.libs/libmpi.so "$KEEP/"; }
