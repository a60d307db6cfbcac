# A room is one directory of the source tree; its files are globbed and re-globbed at every build.

# racewalk_room(<variable> <glob>...): the sources of one or more rooms.
function(racewalk_room variable)
  file(GLOB files CONFIGURE_DEPENDS ${ARGN})
  if(NOT files)
    # a library needs a source even while its room is being built
    set(files ${CMAKE_BINARY_DIR}/empty_room.cc)
    file(CONFIGURE OUTPUT ${files} CONTENT "// no source yet\n")
  endif()
  set(${variable} ${files} PARENT_SCOPE)
endfunction()

# racewalk_precompile(<target> <header>): nearly every source of the target begins with it, so it is read once.
#
# That must not hide what a source forgets to include: the preset clang-tsa reads the sources without it.
function(racewalk_precompile target header)
  target_precompile_headers(${target} PRIVATE <${header}>)
endfunction()

# racewalk_room_tests(<room> <library>...): the tests of tests/<room>/ as one or two gtest programs.
#
# *_model_test.cc are compiled against the model backend, all other *_test.cc against what <library> says;
# other *.cc of the directory are helpers of the latter. Each test is labelled `native` or `model`.
function(racewalk_room_tests room)
  set(dir ${CMAKE_CURRENT_SOURCE_DIR}/${room})
  file(GLOB sources CONFIGURE_DEPENDS ${dir}/*.cc)
  set(model_sources ${sources})
  list(FILTER model_sources INCLUDE REGEX "_model_test\\.cc$")
  list(FILTER sources EXCLUDE REGEX "_model_test\\.cc$")
  if(sources)
    racewalk_test_program(test_${room} LIBRARIES ${ARGN} SOURCES ${sources})
  endif()
  if(model_sources AND RACEWALK_COMMAND)
    set(libraries racewalk_model)
    if(racewalk_model IN_LIST ARGN)
      set(libraries ${ARGN})
    endif()
    racewalk_test_program(test_${room}_model LIBRARIES ${libraries} SOURCES ${model_sources})
  endif()
endfunction()

function(racewalk_test_program name)
  cmake_parse_arguments(arg "" "" "SOURCES;LIBRARIES;PROPERTIES" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE ${arg_LIBRARIES} GTest::gtest GTest::gtest_main)
  set(label native)
  if(racewalk_model IN_LIST arg_LIBRARIES)
    set(label model)
  endif()
  # the time limits are for what hangs, on a machine that is slow and busy
  gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 300 TEST_PREFIX "${name}."
    PROPERTIES LABELS ${label} TIMEOUT 1500 ${arg_PROPERTIES})
endfunction()
