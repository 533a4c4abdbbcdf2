# Finds FlashInfer's headers: FlashInfer_FOUND, FlashInfer_VERSION and FlashInfer::flashinfer; and, where
# they lie beside it, CUTLASS's, which its kernels for Hopper are made of: FlashInfer_CUTLASS_DIR and
# FlashInfer::cutlass, both together.
#
# Looked for in FLASHINFER_ROOT (a folder that holds flashinfer/attention/prefill.cuh in include/),
# then in the PyPI package flashinfer-python of the project's .venv, where launch/install.sh puts it.
# Only CUDA's own headers are needed besides, and for FA3 CUTLASS's; of the package nothing but headers is
# used.
file(GLOB flashinfer_packages LIST_DIRECTORIES ON
     ${PROJECT_SOURCE_DIR}/.venv/lib/python3*/site-packages/flashinfer/data)
find_path(FlashInfer_INCLUDE_DIR flashinfer/attention/prefill.cuh
          HINTS ${FLASHINFER_ROOT} $ENV{FLASHINFER_ROOT} PATHS ${flashinfer_packages}
          PATH_SUFFIXES include)

# The headers do not tell their version; the package does, and a clone of the sources in version.txt.
if(FlashInfer_INCLUDE_DIR)
  set(FlashInfer_VERSION "")
  foreach(file ../../_build_meta.py ../version.txt)
    if(NOT FlashInfer_VERSION AND EXISTS ${FlashInfer_INCLUDE_DIR}/${file})
      file(STRINGS ${FlashInfer_INCLUDE_DIR}/${file} line REGEX "[0-9]+\\.[0-9]+\\.[0-9]+" LIMIT_COUNT 1)
      string(REGEX MATCH "[0-9]+\\.[0-9]+\\.[0-9]+[a-z0-9.]*" FlashInfer_VERSION "${line}")
    endif()
  endforeach()
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(FlashInfer REQUIRED_VARS FlashInfer_INCLUDE_DIR
                                  VERSION_VAR FlashInfer_VERSION)
find_path(FlashInfer_CUTLASS_DIR include/cutlass/cutlass.h NO_DEFAULT_PATH
          HINTS ${FlashInfer_INCLUDE_DIR}/../cutlass ${FlashInfer_INCLUDE_DIR}/../3rdparty/cutlass)
mark_as_advanced(FlashInfer_INCLUDE_DIR FlashInfer_CUTLASS_DIR)

if(FlashInfer_FOUND AND NOT TARGET FlashInfer::flashinfer)
  add_library(FlashInfer::flashinfer INTERFACE IMPORTED)
  set_target_properties(FlashInfer::flashinfer PROPERTIES
                        INTERFACE_INCLUDE_DIRECTORIES ${FlashInfer_INCLUDE_DIR})
endif()
if(FlashInfer_FOUND AND FlashInfer_CUTLASS_DIR AND NOT TARGET FlashInfer::cutlass)
  add_library(FlashInfer::cutlass INTERFACE IMPORTED)
  set_target_properties(FlashInfer::cutlass PROPERTIES INTERFACE_INCLUDE_DIRECTORIES
    "${FlashInfer_INCLUDE_DIR};${FlashInfer_CUTLASS_DIR}/include;${FlashInfer_CUTLASS_DIR}/tools/util/include")
endif()
