# A module is one folder of src/: all its .cpp files, as objects (for libblip) and as a static
# library (for its tests).
#   blip_module(NAME [DEPENDS modules...] [LIBRARIES external targets...]
#               [WITHOUT files that this build has others for...])
function(blip_module name)
  cmake_parse_arguments(arg "" "" "DEPENDS;LIBRARIES;WITHOUT" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${name}/*.cpp)
  list(TRANSFORM arg_WITHOUT PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/${name}/)
  list(REMOVE_ITEM sources ${arg_WITHOUT} "")
  if(NOT sources)
    return()
  endif()
  add_library(blip_${name}_objects OBJECT ${sources})
  target_include_directories(blip_${name}_objects PUBLIC ${PROJECT_SOURCE_DIR}/include
      ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(blip_${name}_objects PRIVATE ${arg_LIBRARIES} Threads::Threads)
  target_compile_definitions(blip_${name}_objects PRIVATE BLIP_VERSION="${PROJECT_VERSION}")
  add_library(blip_${name} STATIC $<TARGET_OBJECTS:blip_${name}_objects>)
  target_include_directories(blip_${name} PUBLIC ${PROJECT_SOURCE_DIR}/include
      ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(blip_${name} PUBLIC ${arg_LIBRARIES} Threads::Threads)
  foreach(dependency ${arg_DEPENDS})
    if(TARGET blip_${dependency})
      target_link_libraries(blip_${name} PUBLIC blip_${dependency})
    endif()
  endforeach()
  set_property(GLOBAL APPEND PROPERTY BLIP_MODULES ${name})
  set_property(GLOBAL APPEND PROPERTY BLIP_LIBRARIES ${arg_LIBRARIES})
endfunction()
