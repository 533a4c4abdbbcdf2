#!/usr/bin/env bash
# Packs one archive that runs on any x86-64 Linux with glibc 2.36 or later, for machines where nobody
# is root: the binary, Open MPI, and every shared library that they need from Debian. Only the NVIDIA
# driver and CUDA libraries are taken from the machine.
#
#   launch/bundle.sh [--tests] [--gpu] [preset]     default cpu-release; --tests: the test programs as
#       well; --gpu: what bench/gpu.sh needs, and a preset with CUDA (targets lockstep, cuda_suite and
#       bench_cuda_kernels, built with -DLOCKSTEP_BENCH=ON) by default
#
# Packs what launch/build.sh has built. The last line on standard output is the archive's path,
# build/lockstep-<version>-<preset>.tar.xz; all else goes to standard error.
set -euo pipefail
cd "$(dirname "$0")/.."

with_tests=
with_gpu=
preset=
for argument in "$@"; do
  case $argument in
    --tests) with_tests=yes ;;
    --gpu) with_gpu=yes ;;
    -*) sed -n '2,12s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    *) preset=$argument ;;
  esac
done
preset=${preset:-$([[ -n $with_gpu ]] && echo cuda-release || echo cpu-release)}

say() { printf '%s\n' "bundle: $*" >&2; }
die() { say "$*"; exit 1; }

readonly debian=/usr/lib/x86_64-linux-gnu
readonly openmpi=$debian/openmpi/lib/openmpi3 pmix=$debian/pmix2
built=build/$preset
[[ -x $built/lockstep ]] || die "$built/lockstep is not there: run launch/build.sh $preset"
for tool in patchelf xz objdump dpkg-query; do
  command -v "$tool" > /dev/null || die "$tool is missing: apt-get install patchelf xz-utils binutils"
done

version=$("$built/lockstep" --version | cut -d' ' -f2)
name=lockstep-$version-$preset
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/$name
mkdir -p "$root"/{bin,libexec,lib/openmpi,lib/pmix,lib/ucx,share/licences,etc}
: > "$work/origins"  # the files of Debian that lie in the archive

# Usage: add <file> <folder of the archive> [name]. Copies what a link leads to.
add() {
  local from
  from=$(readlink -f "$1")
  install -m "$([[ -x $from ]] && echo 755 || echo 644)" "$from" "$root/$2/${3:-$(basename "$1")}"
  printf '%s\n' "$from" >> "$work/origins"
}

# What the machine must have: glibc's own libraries, which belong together with its dynamic linker,
# and NVIDIA's, which belong together with its driver.
is_of_the_machine() {
  case $1 in
    ld-linux*|libc.so*|libm.so*|libmvec.so*|libdl.so*|librt.so*|libpthread.so*) ;;
    libresolv.so*|libutil.so*|libanl.so*|libnss_*) ;;
    libcuda.so*|libcudart.so*|libcublas*.so*|libnvidia*|libnvrtc*|libnvJitLink*|libnccl.so*) ;;
    *) return 1 ;;
  esac
}

# Copies the libraries that the programs and plug-ins given here need, by the names that they ask for.
add_libraries() {
  local library path
  local missing
  missing=$(ldd "$@" 2> /dev/null | sed -n 's/^\t\([^ ]*\) => not found$/\1/p' | sort -u |
    while read -r library; do is_of_the_machine "$library" || echo "$library"; done)
  [[ -z $missing ]] || die "not found on this machine:" $missing
  ldd "$@" 2> /dev/null | sed -n 's/^\t\([^ ]*\) => \(\/[^ ]*\) .*/\1 \2/p' | sort -u |
    while read -r library path; do
      is_of_the_machine "$library" || [[ -e $root/lib/$library ]] || add "$path" lib "$library"
    done
}

# Plug-ins that a library of this machine is missing for are left out, as their own loader would.
add_plugins() {
  local folder=$1 plugin
  shift
  for plugin in "$@"; do
    [[ -e $plugin ]] || continue
    if ldd "$plugin" | grep -q 'not found'; then say "left out: $plugin"; continue; fi
    add "$plugin" "$folder"
  done
}

programs=("$built/lockstep" /usr/bin/orterun /usr/bin/orted /usr/bin/ompi_info)
install -s "$built/lockstep" "$root/libexec/lockstep"
add /usr/bin/orterun libexec mpirun
add /usr/bin/orted libexec
add /usr/bin/ompi_info libexec
if [[ -n $with_tests ]]; then
  mkdir "$root/tests"
  while read -r test; do
    install -s "$test" "$root/tests/"
    programs+=("$test")
  done < <(find "$built/tests" -type f -executable -name '*_test')
fi
if [[ -n $with_gpu ]]; then
  mkdir -p "$root"/{tests,share/gpu,bench/gpu}
  for test in "$built"/tests/cuda_suite "$built"/bench/bench_cuda_kernels; do
    [[ -x $test ]] || die "$test is not there: cmake --preset $preset -DLOCKSTEP_BENCH=ON && launch/build.sh $preset lockstep cuda_suite bench_cuda_kernels"
    install -s "$test" "$root/tests/"
    programs+=("$test")
  done
  files=build/gpu-files
  if [[ ! -e $files/reference.json ]]; then
    say "making a model of few layers and its reference, about a minute"
    .venv/bin/python bench/gpu/make_files.py "$(launch/install.sh 2> /dev/null)" "$files" >&2
  fi
  cp "$files"/{model.gguf,reference.json} "$root/share/gpu/"
  cp bench/gpu.sh "$root/bench/"
  cp bench/gpu/*.{py,md} "$root/bench/gpu/"
fi
add_plugins lib/openmpi "$openmpi"/*.so
add_plugins lib/pmix "$pmix"/lib/pmix/*.so
add_plugins lib/ucx "$debian"/ucx/*.so.0
add_libraries "${programs[@]}" "$root"/lib/{openmpi,pmix,ucx}/*.so*
cp -rL /usr/share/openmpi "$pmix/share/pmix" "$root/share/"
cp -rL /etc/openmpi "$root/etc/"
install -m 644 "$pmix/share/pmix-mca-params.conf" "$root/etc/" 2> /dev/null || true

# DT_RPATH, not DT_RUNPATH: it goes before an LD_LIBRARY_PATH that leads to another Open MPI.
relocate() {
  local to=$1
  shift
  local file
  for file in "$@"; do patchelf --force-rpath --set-rpath "$to" "$file"; done
}
relocate '$ORIGIN/../lib' "$root"/libexec/* $(find "$root" -path '*/tests/*')
relocate '$ORIGIN' $(find "$root/lib" -maxdepth 1 -type f)
relocate '$ORIGIN/..' $(find "$root/lib" -mindepth 2 -type f)

# The newest glibc that anything here asks for.
glibc=$({ find "$root" -type f -exec objdump -T {} + 2> /dev/null || true; } |
  grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -1)
printf '%s\n' "$glibc" GLIBC_2.36 | sort -VC || die "needs $glibc: pack on Debian 12"

# Open MPI and PMIx have /usr built in; the environment says otherwise, also to the ranks.
cat > "$root/bin/run" << 'END'
#!/bin/sh
# Runs the program of libexec/ that has this link's name, with the Open MPI of this archive.
root=$(readlink -f "$0")
root=${root%/bin/run}
export OPAL_PREFIX="$root" OPAL_BINDIR="$root/bin" OPAL_LIBDIR="$root/lib"
export OPAL_PKGLIBDIR="$root/lib/openmpi" OPAL_PKGDATADIR="$root/share/openmpi"
export OPAL_SYSCONFDIR="$root/etc/openmpi"
export PMIX_PREFIX="$root" PMIX_LIBDIR="$root/lib" PMIX_PKGLIBDIR="$root/lib/pmix"
export PMIX_PKGDATADIR="$root/share/pmix" PMIX_SYSCONFDIR="$root/etc"
export PMIX_MCA_mca_base_component_path="$root/lib/pmix"
export UCX_MODULE_DIR="$root/lib/ucx" HWLOC_PLUGINS_PATH="$root/lib/hwloc"
export PATH="$root/bin:$PATH"
# Without any program for other hosts mpirun would not even start ranks on this one.
if ! command -v ssh > /dev/null && ! command -v rsh > /dev/null; then
  export OMPI_MCA_plm_rsh_agent="${OMPI_MCA_plm_rsh_agent:-false}"
fi
# Other hosts have the folder at the same place.
case "${0##*/} $*" in
  *" --prefix "*) ;;
  "mpirun "*) set -- --prefix "$root" "$@" ;;
esac
exec "$root/libexec/${0##*/}" "$@"
END
chmod 755 "$root/bin/run"
for program in lockstep mpirun orted ompi_info; do ln -s run "$root/bin/$program"; done

# Which Debian packages all of it comes from, and their licences. Those of the headers and static
# libraries that are compiled in are the -dev packages of launch/install.sh.
owners() { xargs -r dpkg-query -S 2> /dev/null | sed 's/: .*//; s/:amd64//' || true; }
{
  sort -u "$work/origins" | owners
  # Debian's database knows some files by the names they had before /lib was a link to /usr/lib.
  sort -u "$work/origins" | sed -n 's|^/usr/lib/|/lib/|p' | owners
  sed -n '/^packages=(/,/^)/p' launch/install.sh | grep -o '[a-z0-9.+-]*-dev' | grep -v -e gtest -e gmock
  echo cppzmq-dev
} | sort -u > "$work/packages"
while read -r package; do
  [[ -e /usr/share/doc/$package/copyright ]] || continue
  cp -L "/usr/share/doc/$package/copyright" "$root/share/licences/$package"
done < "$work/packages"
{
  printf 'lockstep %s, preset %s, commit %s\n\n' "$version" "$preset" "$(git rev-parse HEAD)"
  printf 'Debian packages of which parts lie here or are compiled in; their licences: share/licences/\n'
  xargs dpkg-query -W -f='${Package} ${Version}\n' < "$work/packages"
} > "$root/MANIFEST"
sed "s/@NAME@/$name/g" launch/bundle.md > "$root/README.md"

archive=$PWD/build/$name.tar.xz
tar --create --directory "$work" --sort=name --owner=0 --group=0 --numeric-owner \
  --mtime="@$(git log -1 --format=%ct)" "$name" | xz -6 -T0 > "$archive.part"
mv "$archive.part" "$archive"
(cd "$root" && du -sh -- */) >&2
say "$(find "$root" -type f | wc -l) files of $(wc -l < "$work/packages") packages," \
  "$(du -sh --apparent-size "$root" | cut -f1) unpacked, for $glibc or later," \
  "$(($(stat -c %s "$archive") / 1024)) KiB packed"
printf '%s\n' "$archive"
