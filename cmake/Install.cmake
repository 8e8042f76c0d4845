# make install: program, library (shared and static), headers, bundled model, completions, CMake
# package, pkg-config file.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

if(BLIP_INSTALL_LIBRARY)
  set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/blip)
  # Two export sets: users of the shared library need none of the packages that the static one
  # links.
  set_target_properties(blip_shared PROPERTIES EXPORT_NAME blip)
  install(TARGETS blip_shared EXPORT blip_shared_targets LIBRARY DESTINATION
      ${CMAKE_INSTALL_LIBDIR})
  install(TARGETS blip_static EXPORT blip_static_targets ARCHIVE DESTINATION
      ${CMAKE_INSTALL_LIBDIR})
  install(EXPORT blip_shared_targets NAMESPACE blip:: FILE blipSharedTargets.cmake DESTINATION
      ${package_dir})
  install(EXPORT blip_static_targets NAMESPACE blip:: FILE blipStaticTargets.cmake DESTINATION
      ${package_dir})
  configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/blipConfig.cmake.in
      ${CMAKE_BINARY_DIR}/blipConfig.cmake
                                INSTALL_DESTINATION ${package_dir} NO_SET_AND_CHECK_MACRO)
  write_basic_package_version_file(${CMAKE_BINARY_DIR}/blipConfigVersion.cmake COMPATIBILITY
      SameMinorVersion)
  install(FILES ${CMAKE_BINARY_DIR}/blipConfig.cmake ${CMAKE_BINARY_DIR}/blipConfigVersion.cmake
      DESTINATION ${package_dir})
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/blip DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
      FILES_MATCHING PATTERN "*.h")

  # Relative to the file, so that an installed tree can be moved.
  file(RELATIVE_PATH prefix_from_pc ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
  string(REGEX REPLACE "/$" "" prefix_from_pc ${prefix_from_pc})
  configure_file(${CMAKE_CURRENT_LIST_DIR}/blip.pc.in ${CMAKE_BINARY_DIR}/blip.pc @ONLY)
  install(FILES ${CMAKE_BINARY_DIR}/blip.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endif()

install(DIRECTORY ${PROJECT_SOURCE_DIR}/models DESTINATION ${CMAKE_INSTALL_DATADIR}/blip
    FILES_MATCHING PATTERN "*.gguf" PATTERN "*.md")
# With the documents that the README links to, under the same relative paths.
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE ${PROJECT_SOURCE_DIR}/NOTICE
    ${PROJECT_SOURCE_DIR}/README.md ${PROJECT_SOURCE_DIR}/README_zh.md
    ${PROJECT_SOURCE_DIR}/CHANGELOG.md
              ${PROJECT_SOURCE_DIR}/CONTRIBUTING.md ${PROJECT_SOURCE_DIR}/SECURITY.md
        DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/docs ${PROJECT_SOURCE_DIR}/examples DESTINATION
    ${CMAKE_INSTALL_DOCDIR} PATTERN "dev" EXCLUDE)
install(FILES ${PROJECT_SOURCE_DIR}/python/README.md DESTINATION ${CMAKE_INSTALL_DOCDIR}/python)
install(FILES ${PROJECT_SOURCE_DIR}/models/README.md DESTINATION ${CMAKE_INSTALL_DOCDIR}/models)
install(FILES ${PROJECT_SOURCE_DIR}/demo/README.md DESTINATION ${CMAKE_INSTALL_DOCDIR}/demo)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/blip DESTINATION ${CMAKE_INSTALL_DOCDIR}/include
    FILES_MATCHING PATTERN "*.h")

# The Python package (python/pyproject.toml) holds the library and the bundled model, and nothing
# else of these.
if(SKBUILD)
  install(PROGRAMS $<TARGET_FILE:blip_shared> DESTINATION blipcpp RENAME libblip.so COMPONENT
      python)
  install(FILES ${PROJECT_SOURCE_DIR}/models/blip-demo.gguf DESTINATION blipcpp COMPONENT python)
endif()

if(BLIP_BUILD_CLI)
  install(TARGETS blip RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  # Printed by the program itself (cross-built, under the emulator); where it cannot run,
  # completions are left out.
  if(NOT CMAKE_CROSSCOMPILING OR CMAKE_CROSSCOMPILING_EMULATOR)
    set(completions ${CMAKE_BINARY_DIR}/completions)
    add_custom_command(
      OUTPUT ${completions}/blip ${completions}/_blip ${completions}/blip.fish
      COMMAND ${CMAKE_COMMAND} -E make_directory ${completions}
      COMMAND blip completions bash > ${completions}/blip
      COMMAND blip completions zsh > ${completions}/_blip
      COMMAND blip completions fish > ${completions}/blip.fish
      DEPENDS blip)
    set(manual ${CMAKE_BINARY_DIR}/man)
    # A shell would end its command at a semicolon.
    list(JOIN CMAKE_CROSSCOMPILING_EMULATOR "," emulator)
    set(manual_stamp ${CMAKE_BINARY_DIR}/man.stamp)
    add_custom_command(
      OUTPUT ${manual_stamp}
      COMMAND ${CMAKE_COMMAND} -DPROGRAM=$<TARGET_FILE:blip> "-DEMULATOR=${emulator}"
      -DFOLDER=${manual}
              -P ${PROJECT_SOURCE_DIR}/cmake/ManualPages.cmake
      COMMAND gzip -9n ${manual}/*.1
      COMMAND ${CMAKE_COMMAND} -E touch ${manual_stamp}
      DEPENDS blip ${PROJECT_SOURCE_DIR}/cmake/ManualPages.cmake)
    add_custom_target(blip_completions ALL
                      DEPENDS ${completions}/blip ${completions}/_blip ${completions}/blip.fish
                      ${manual_stamp})
    install(DIRECTORY ${manual}/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 FILES_MATCHING PATTERN
        "*.1.gz")
    install(FILES ${completions}/blip DESTINATION
        ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
    # The package's zsh (cmake/Package.cmake) looks elsewhere than one with a prefix of its own.
    install(FILES ${completions}/_blip DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions
        COMPONENT zsh_site)
    install(FILES ${completions}/blip.fish DESTINATION
        ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
  endif()
endif()
