# lockstep_library(<folder> DEPENDS <folders> LINKS <libraries>): the static library of one folder,
# built from every source in it. A folder without sources yet is an interface library.
function(lockstep_library name)
  cmake_parse_arguments(ARG "" "" "DEPENDS;LINKS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  list(TRANSFORM ARG_DEPENDS PREPEND lockstep_)
  if(sources)
    add_library(lockstep_${name} STATIC ${sources})
    target_include_directories(lockstep_${name} PUBLIC ${PROJECT_SOURCE_DIR})
    target_link_libraries(lockstep_${name} PUBLIC ${ARG_DEPENDS} ${ARG_LINKS} Threads::Threads)
  else()
    add_library(lockstep_${name} INTERFACE)
    target_include_directories(lockstep_${name} INTERFACE ${PROJECT_SOURCE_DIR})
    target_link_libraries(lockstep_${name} INTERFACE ${ARG_DEPENDS} ${ARG_LINKS} Threads::Threads)
  endif()
endfunction()

# lockstep_tests(<folder> LINKS <libraries> PROPERTIES <ctest properties>): one test program,
# <folder>_test, from every *_test.cc in tests/<folder>.
function(lockstep_tests name)
  cmake_parse_arguments(ARG "" "" "LINKS;PROPERTIES" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/${name}/*.cc)
  if(NOT sources)
    return()
  endif()
  add_executable(${name}_test ${sources})
  target_link_libraries(${name}_test PRIVATE lockstep_${name} ${ARG_LINKS} GTest::gmock GTest::gtest_main)
  gtest_discover_tests(${name}_test WORKING_DIRECTORY ${PROJECT_SOURCE_DIR} NO_PRETTY_VALUES
                       DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60 PROPERTIES TIMEOUT 300 ${ARG_PROPERTIES})
endfunction()
