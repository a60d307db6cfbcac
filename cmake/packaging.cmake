# Installs the command, the native library, and the two ways to find the library: a CMake package and a
# pkg-config file. The inner rooms' headers go with it (the fast paths are inline), under racewalk/rooms.
#
# With the command go the headers of the model, which it compiles users' scenarios against, and the model's
# library with the explorer, for programs that decide something themselves (pkg-config racewalk-model).
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/racewalk)

if(RACEWALK_COMMAND)
  install(TARGETS racewalk_program RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  if(TARGET racewalk_mpi)
    install(TARGETS racewalk_mpi LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/racewalk)
  endif()
endif()
install(TARGETS racewalk EXPORT racewalk_targets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT racewalk_targets NAMESPACE racewalk:: DESTINATION ${package_dir})
set(rooms src/sync src/arch src/machine src/mm)
set(only_for_the_model PATTERN scenario.h EXCLUDE PATTERN testbed.h EXCLUDE PATTERN model EXCLUDE)
if(RACEWALK_COMMAND)
  list(APPEND rooms src/explore src/scenario)
  set(only_for_the_model)
  install(TARGETS racewalk_model ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
  configure_file(cmake/racewalk-model.pc.in ${CMAKE_BINARY_DIR}/racewalk-model.pc @ONLY)
  install(FILES ${CMAKE_BINARY_DIR}/racewalk-model.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endif()
install(DIRECTORY include/racewalk DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  FILES_MATCHING PATTERN *.h ${only_for_the_model})
install(DIRECTORY ${rooms} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/racewalk/rooms
  FILES_MATCHING PATTERN *.h ${only_for_the_model})
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

configure_package_config_file(cmake/racewalkConfig.cmake.in ${CMAKE_BINARY_DIR}/racewalkConfig.cmake
  INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/racewalkConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/racewalkConfig.cmake ${CMAKE_BINARY_DIR}/racewalkConfigVersion.cmake
  DESTINATION ${package_dir})

configure_file(cmake/racewalk.pc.in ${CMAKE_BINARY_DIR}/racewalk.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/racewalk.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
