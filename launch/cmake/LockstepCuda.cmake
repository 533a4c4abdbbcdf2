# CUDA: the compiler, the libraries, and lockstep_cuda_library(). Without LOCKSTEP_CUDA only the
# function is of interest: it then builds the bodies that say so (<folder>/cuda/absent.cc).
option(LOCKSTEP_CUDA "Build the CUDA bodies (the presets cuda-release*)" OFF)

if(LOCKSTEP_CUDA)
  set(LOCKSTEP_CUDA_ARCHITECTURE "90a" CACHE STRING
      "The GPUs to build for, as CMAKE_CUDA_ARCHITECTURES: 80, 89, 90a, 100, or a list")
  foreach(architecture IN LISTS LOCKSTEP_CUDA_ARCHITECTURE)
    if(NOT architecture MATCHES "^[0-9]+[a-z]?(-real|-virtual)?$")
      message(FATAL_ERROR "LOCKSTEP_CUDA_ARCHITECTURE: '${architecture}' is none of 80, 89, 90a, 100, ...")
    endif()
  endforeach()
  set(CMAKE_CUDA_ARCHITECTURES ${LOCKSTEP_CUDA_ARCHITECTURE})
  if(NOT CMAKE_CUDA_HOST_COMPILER AND NOT DEFINED ENV{CUDAHOSTCXX})
    set(CMAKE_CUDA_HOST_COMPILER ${CMAKE_CXX_COMPILER})
  endif()
  # Where nvcc is not in PATH.
  find_program(LOCKSTEP_NVCC nvcc HINTS $ENV{CUDA_HOME}/bin /usr/local/cuda/bin)
  if(LOCKSTEP_NVCC AND NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
    set(CMAKE_CUDA_COMPILER ${LOCKSTEP_NVCC})
  endif()
  enable_language(CUDA)
  # CMake 3.25 does not know how nvcc is told of C++20.
  foreach(kind STANDARD EXTENSION)
    if(NOT CMAKE_CUDA20_${kind}_COMPILE_OPTION)
      set(CMAKE_CUDA20_${kind}_COMPILE_OPTION -std=c++20)
    endif()
  endforeach()
  set(CMAKE_CUDA_STANDARD 20)
  set(CMAKE_CUDA_STANDARD_REQUIRED ON)
  set(CMAKE_CUDA_EXTENSIONS OFF)
  if(CCACHE)
    set(CMAKE_CUDA_COMPILER_LAUNCHER ${CCACHE})
  endif()
  find_package(CUDAToolkit 12.8 REQUIRED)  # the first that knows sm_100
  find_package(NCCL 2.27 REQUIRED)         # the first with symmetric memory windows
  # Exact: its kernel is instantiated with template parameters of this version (docs/decisions.md).
  find_package(FlashInfer 0.6.7 EXACT)
  if(NOT FlashInfer_FOUND)
    message(WARNING "FlashInfer 0.6.7 was not found: attention has the own kernel only. "
                    "launch/install.sh gets it where nvcc is; FLASHINFER_ROOT names another place.")
  endif()
endif()

# lockstep_cuda_library(<folder> DEPENDS <folders> LINKS <libraries>): the static library
# lockstep_<folder>_cuda from the .cu and .cc files in <folder>/cuda; absent.cc and what the folder's
# own library has already (plain C++) excepted. Without LOCKSTEP_CUDA from absent.cc alone, where there
# is one. This is the one place that selects a backend: no source asks which it is built for. LINKS
# counts only with LOCKSTEP_CUDA.
function(lockstep_cuda_library name)
  cmake_parse_arguments(ARG "" "" "DEPENDS;LINKS" ${ARGN})
  set(folder ${CMAKE_CURRENT_SOURCE_DIR}/cuda)
  list(TRANSFORM ARG_DEPENDS PREPEND lockstep_)
  if(LOCKSTEP_CUDA)
    file(GLOB sources CONFIGURE_DEPENDS ${folder}/*.cu ${folder}/*.cc)
    get_target_property(plain lockstep_${name} SOURCES)
    list(TRANSFORM plain REPLACE "^cuda/" "${folder}/")
    list(REMOVE_ITEM sources ${folder}/absent.cc ${plain})
  else()
    file(GLOB sources CONFIGURE_DEPENDS ${folder}/absent.cc)
    set(ARG_LINKS)
  endif()
  if(sources)
    add_library(lockstep_${name}_cuda STATIC ${sources})
    target_link_libraries(lockstep_${name}_cuda PUBLIC ${ARG_DEPENDS} ${ARG_LINKS})
  else()
    add_library(lockstep_${name}_cuda INTERFACE)
    target_link_libraries(lockstep_${name}_cuda INTERFACE ${ARG_DEPENDS})
  endif()
endfunction()
