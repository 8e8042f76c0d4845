# make package: one Debian package with all that `make install` installs, by CPack.
set(debian_arch_x86_64 amd64)
set(debian_arch_aarch64 arm64)
set(debian_arch_riscv64 riscv64)
set(debian_arch ${debian_arch_${CMAKE_SYSTEM_PROCESSOR}})
if(NOT debian_arch OR NOT BLIP_BUILD_CLI)
  return()
endif()

set(debian_dir ${CMAKE_CURRENT_LIST_DIR}/debian)
install(FILES ${debian_dir}/copyright DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT debian
    EXCLUDE_FROM_ALL)
set(debian_changelog ${CMAKE_BINARY_DIR}/debian/changelog.gz)
add_custom_command(OUTPUT ${debian_changelog}
                   COMMAND gzip -9nc ${PROJECT_SOURCE_DIR}/CHANGELOG.md > ${debian_changelog}
                   DEPENDS ${PROJECT_SOURCE_DIR}/CHANGELOG.md)
add_custom_target(blip_changelog ALL DEPENDS ${debian_changelog})
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/debian)
install(FILES ${debian_changelog} DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT debian
    EXCLUDE_FROM_ALL)

if(TARGET blip_completions)
  install(FILES ${CMAKE_BINARY_DIR}/completions/_blip DESTINATION
      ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions COMPONENT debian EXCLUDE_FROM_ALL)
endif()

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_DIRECTORY ${CMAKE_BINARY_DIR}/packages)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
# Everything but zsh's completions, which Debian's zsh wants in another folder.
set(CPACK_INSTALL_CMAKE_PROJECTS
    "${CMAKE_BINARY_DIR};blip;Unspecified;/;${CMAKE_BINARY_DIR};blip;debian;/")
set(CPACK_STRIP_FILES ON)
set(CPACK_PACKAGE_CONTACT "blip.cpp maintainers <blip@blip.invalid>")
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_ARCHITECTURE ${debian_arch})
set(CPACK_DEBIAN_PACKAGE_SECTION graphics)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
# CPack puts the summary before the rest.
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY
    "describes pictures, matches texts and answers questions with BLIP")
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION
"The program blip runs BLIP checkpoints on this machine: it captions pictures,
says how well texts fit them and answers questions about them, on the command
line or, where the build has it, as an HTTP server. With the library libblip,
its headers and a small model to try it with.")
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${debian_dir}/triggers)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS_POLICY ">=")

if(NOT CMAKE_CROSSCOMPILING)
  set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
else()  # read when cpack runs: the files exist by then
  set(CPACK_PROJECT_CONFIG_FILE ${CMAKE_BINARY_DIR}/debian/depends.cmake)
  file(GENERATE OUTPUT ${CPACK_PROJECT_CONFIG_FILE} CONTENT
"execute_process(COMMAND ${debian_dir}/shlib-depends.sh ${CMAKE_FIND_ROOT_PATH}
                        $<TARGET_FILE:blip> $<TARGET_FILE:blip_shared>
                OUTPUT_VARIABLE CPACK_DEBIAN_PACKAGE_DEPENDS OUTPUT_STRIP_TRAILING_WHITESPACE
                RESULT_VARIABLE failed)
if(failed)
  message(FATAL_ERROR \"no dependencies for the package\")
endif()
")
endif()
include(CPack)
