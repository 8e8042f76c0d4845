# Every dependency, all from Debian packages.
set(BLIP_CODECS libraries CACHE STRING
    "JPEG, PNG, WebP and deflate: libraries, or stb = headers alone, without WebP")
set(more_codecs ON)
if(BLIP_CODECS STREQUAL stb)  # for systems without libraries
  set(more_codecs OFF)
endif()
option(BLIP_TIFF "Read TIFF, by libtiff" ${more_codecs})
option(BLIP_HEIF "Read HEIF (HEIC), by libheif and libde265" ${more_codecs})
option(BLIP_AVIF "Read AVIF, by libavif" ${more_codecs})
option(BLIP_JXL "Read JPEG XL, by libjxl" ${more_codecs})
option(BLIP_ARCHIVES "Read pictures out of tar and zip archives, by libarchive" ${more_codecs})
set(BLIP_CURL link CACHE STRING
    "libcurl: link, or load = the system's, found when a download starts")
foreach(choice BLIP_CODECS:libraries:stb BLIP_CURL:link:load)
  string(REPLACE ":" ";" choice ${choice})
  list(POP_FRONT choice name)
  set_property(CACHE ${name} PROPERTY STRINGS ${choice})
  if(NOT ${name} IN_LIST choice)
    message(FATAL_ERROR "${name}=${${name}}: known are ${choice}")
  endif()
endforeach()

find_package(Threads REQUIRED)
find_package(nlohmann_json REQUIRED)
if(BLIP_BUILD_CLI)
  find_package(CLI11 REQUIRED)
  find_path(XXHASH_INCLUDE xxhash.h REQUIRED)  # compiled in; the server links the library
endif()
find_package(PkgConfig REQUIRED)

# Libraries that are headers alone are nothing to users of libblip.a: they stay out of its CMake
# package.
set(BLIP_HIGHWAY_SOURCES "" CACHE PATH
    "Highway's sources, to build it with; empty = the installed one")
if(NOT BLIP_HIGHWAY_SOURCES)
  find_package(hwy QUIET)
endif()
set(BLIP_VECTOR_LIBRARIES hwy::hwy)
if(BLIP_HIGHWAY_SOURCES)
  add_library(blip_hwy STATIC ${BLIP_HIGHWAY_SOURCES}/hwy/targets.cc)
  target_include_directories(blip_hwy SYSTEM PUBLIC $<BUILD_INTERFACE:${BLIP_HIGHWAY_SOURCES}>)
  target_compile_options(blip_hwy PRIVATE -w)
  set(BLIP_VECTOR_LIBRARIES $<BUILD_INTERFACE:blip_hwy>)
elseif(NOT TARGET hwy::hwy)  # the headers do for one instruction set
  find_path(HWY_INCLUDE hwy/highway.h REQUIRED)
  add_library(blip_hwy INTERFACE IMPORTED)
  target_include_directories(blip_hwy INTERFACE ${HWY_INCLUDE})
  set(BLIP_VECTOR_LIBRARIES $<BUILD_INTERFACE:blip_hwy>)
endif()

if(BLIP_BUILD_CLI AND BLIP_ARCHIVES)
  pkg_check_modules(LIBARCHIVE IMPORTED_TARGET libarchive)
  if(NOT LIBARCHIVE_FOUND)
    message(FATAL_ERROR
        "BLIP_ARCHIVES needs libarchive: scripts/install-deps.sh build installs it, "
                        "-DBLIP_ARCHIVES=OFF builds without")
  endif()
endif()

if(BLIP_CODECS STREQUAL libraries)
  find_package(JPEG REQUIRED)
  find_package(PNG REQUIRED)
  find_package(ZLIB REQUIRED)
  set(BLIP_INFLATE_LIBRARIES ZLIB::ZLIB)
  set(BLIP_IMAGE_LIBRARIES JPEG::JPEG PNG::PNG)
  set(BLIP_WEBP ON)
else()
  find_path(STB_INCLUDE stb/stb_image.h REQUIRED)
  add_library(blip_stb INTERFACE IMPORTED)
  target_include_directories(blip_stb INTERFACE ${STB_INCLUDE})
  set(BLIP_INFLATE_LIBRARIES $<BUILD_INTERFACE:blip_stb>)
  set(BLIP_IMAGE_LIBRARIES $<BUILD_INTERFACE:blip_stb>)
  set(BLIP_WEBP OFF)
endif()

# The formats that a build may lack: name, then the modules of pkg-config that read it. The sources
# see BLIP_HAS_NAME.
set(BLIP_CODEC_MODULES
    "WEBP libwebp libwebpdemux" "TIFF libtiff-4" "HEIF libheif libde265" "AVIF libavif"
    "JXL libjxl")
set(BLIP_IMAGE_DEFINITIONS "")
set(BLIP_IMAGE_PACKAGES "")  # of those above, the ones that are in
foreach(codec IN LISTS BLIP_CODEC_MODULES)
  separate_arguments(modules UNIX_COMMAND "${codec}")
  list(POP_FRONT modules name)
  if(BLIP_${name})
    pkg_check_modules(${name} IMPORTED_TARGET ${modules})
    if(NOT ${name}_FOUND)
      list(JOIN modules " and " modules)
      message(FATAL_ERROR
          "BLIP_${name} needs ${modules}: scripts/install-deps.sh build installs them, "
                          "-DBLIP_${name}=OFF builds without")
    endif()
    list(APPEND BLIP_IMAGE_LIBRARIES PkgConfig::${name})
    list(APPEND BLIP_IMAGE_DEFINITIONS BLIP_HAS_${name})
    list(APPEND BLIP_IMAGE_PACKAGES ${name})
  endif()
endforeach()

set(BLIP_DOWNLOAD_LIBRARIES "")
if(BLIP_DOWNLOADS)
  find_package(OpenSSL REQUIRED COMPONENTS Crypto)
  if(BLIP_CURL STREQUAL load)
    find_path(CURL_INCLUDE_DIR curl/curl.h REQUIRED)
    add_library(blip_curl INTERFACE IMPORTED)
    target_include_directories(blip_curl INTERFACE ${CURL_INCLUDE_DIR})
    target_link_libraries(blip_curl INTERFACE ${CMAKE_DL_LIBS})
    set(BLIP_DOWNLOAD_LIBRARIES blip_curl OpenSSL::Crypto)
  else()
    find_package(CURL REQUIRED)
    set(BLIP_DOWNLOAD_LIBRARIES CURL::libcurl OpenSSL::Crypto)
  endif()
endif()

if(BLIP_BUILD_CLI AND BLIP_BUILD_SERVER)
  # Boost.Asio and Boost.Beast are headers alone.
  find_path(BOOST_INCLUDE boost/beast/http/basic_parser.hpp REQUIRED)
  add_library(blip_boost INTERFACE IMPORTED)
  target_include_directories(blip_boost SYSTEM INTERFACE ${BOOST_INCLUDE})
  target_compile_definitions(blip_boost INTERFACE BOOST_ASIO_NO_DEPRECATED
      BOOST_ERROR_CODE_HEADER_ONLY)
  pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
  find_package(SQLite3 REQUIRED)
endif()

# What users of libblip.a must link: the packages of its CMake package and the flags of its
# pkg-config file.
set(BLIP_STATIC_PACKAGES Threads nlohmann_json)
set(BLIP_STATIC_FLAGS "")
if(BLIP_CODECS STREQUAL libraries)
  list(APPEND BLIP_STATIC_PACKAGES JPEG PNG ZLIB)
  list(APPEND BLIP_STATIC_FLAGS -ljpeg -lpng -lz)
endif()
foreach(name IN LISTS BLIP_IMAGE_PACKAGES)
  list(APPEND BLIP_STATIC_PACKAGES ${name})
  foreach(library IN LISTS ${name}_LIBRARIES)
    list(APPEND BLIP_STATIC_FLAGS -l${library})
  endforeach()
endforeach()
if(BLIP_DOWNLOADS)
  list(APPEND BLIP_STATIC_PACKAGES OpenSSL)
  list(APPEND BLIP_STATIC_FLAGS -lcrypto)
  if(BLIP_CURL STREQUAL link)
    list(APPEND BLIP_STATIC_PACKAGES CURL)
    list(APPEND BLIP_STATIC_FLAGS -lcurl)
  endif()
endif()
if(TARGET hwy::hwy)
  list(APPEND BLIP_STATIC_PACKAGES hwy)
  list(APPEND BLIP_STATIC_FLAGS -lhwy)
endif()
list(JOIN BLIP_STATIC_FLAGS " " BLIP_STATIC_FLAGS)
