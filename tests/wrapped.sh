# wrapped PROGRAM: a path that starts it; a script in $work where programs of this build need another to run them
# (qemu-user, which meson names here). For scripts that start what was built.
wrapped() {
    path=$(realpath "$1")
    if [ -n "${MESON_EXE_WRAPPER-}" ]; then
        script=$work/run-$(basename "$path")
        printf '#!/bin/sh\nexec %s %s "$@"\n' "$MESON_EXE_WRAPPER" "'$path'" >"$script" && chmod +x "$script"
        path=$script
    fi
    echo "$path"
}
