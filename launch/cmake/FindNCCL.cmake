# Finds NVIDIA's collectives library: NCCL_FOUND, NCCL_VERSION and the target NCCL::nccl.
#
# nccl.h and libnccl are looked for in NCCL_ROOT, then in the CUDA toolkit's folder, then in /usr
# (Debian: libnccl-dev), then in the PyPI package nvidia-nccl-cu<version> of the project's .venv.
# That package has no link libnccl.so, only libnccl.so.2, so both names are looked for.
file(GLOB nccl_packages LIST_DIRECTORIES ON
     ${PROJECT_SOURCE_DIR}/.venv/lib/python3*/site-packages/nvidia/nccl)
set(nccl_roots ${NCCL_ROOT} $ENV{NCCL_ROOT} ${CUDAToolkit_TARGET_DIR} ${CUDAToolkit_ROOT}
    ${CUDAToolkit_BIN_DIR}/..)
find_path(NCCL_INCLUDE_DIR nccl.h HINTS ${nccl_roots} PATHS ${nccl_packages} PATH_SUFFIXES include)
find_library(NCCL_LIBRARY NAMES nccl libnccl.so.2 NAMES_PER_DIR HINTS ${nccl_roots}
             PATHS ${nccl_packages} PATH_SUFFIXES lib64 lib lib/${CMAKE_LIBRARY_ARCHITECTURE})

if(NCCL_INCLUDE_DIR)
  set(NCCL_VERSION "")
  foreach(part MAJOR MINOR PATCH)
    file(STRINGS ${NCCL_INCLUDE_DIR}/nccl.h line REGEX "^#define NCCL_${part} +[0-9]+" LIMIT_COUNT 1)
    string(REGEX REPLACE ".* ([0-9]+).*" "\\1" number "${line}")
    list(APPEND NCCL_VERSION ${number})
  endforeach()
  list(JOIN NCCL_VERSION "." NCCL_VERSION)
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(NCCL REQUIRED_VARS NCCL_LIBRARY NCCL_INCLUDE_DIR
                                  VERSION_VAR NCCL_VERSION)
mark_as_advanced(NCCL_INCLUDE_DIR NCCL_LIBRARY)

if(NCCL_FOUND AND NOT TARGET NCCL::nccl)
  add_library(NCCL::nccl UNKNOWN IMPORTED)
  set_target_properties(NCCL::nccl PROPERTIES IMPORTED_LOCATION ${NCCL_LIBRARY}
                        INTERFACE_INCLUDE_DIRECTORIES ${NCCL_INCLUDE_DIR})
endif()
