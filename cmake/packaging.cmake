# Installs the command, the native library, and the two ways to find the library: a CMake package and a
# pkg-config file. The inner rooms' headers go with it (the fast paths are inline), under racewalk/rooms.
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/racewalk)

if(RACEWALK_COMMAND)
  install(TARGETS racewalk_program RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
install(TARGETS racewalk EXPORT racewalk_targets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT racewalk_targets NAMESPACE racewalk:: DESTINATION ${package_dir})
install(DIRECTORY include/racewalk DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  FILES_MATCHING PATTERN *.h PATTERN scenario.h EXCLUDE PATTERN testbed.h EXCLUDE)
install(DIRECTORY src/sync src/arch src/machine src/mm DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/racewalk/rooms
  FILES_MATCHING PATTERN *.h PATTERN model EXCLUDE)
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

configure_package_config_file(cmake/racewalkConfig.cmake.in ${CMAKE_BINARY_DIR}/racewalkConfig.cmake
  INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/racewalkConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/racewalkConfig.cmake ${CMAKE_BINARY_DIR}/racewalkConfigVersion.cmake
  DESTINATION ${package_dir})

configure_file(cmake/racewalk.pc.in ${CMAKE_BINARY_DIR}/racewalk.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/racewalk.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
