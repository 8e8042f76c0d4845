# Puts data/bert-base-uncased/vocab.txt into the library. Text substitution only: nothing to run, so
# it works cross-compiled.
set(blip_vocabulary_txt ${PROJECT_SOURCE_DIR}/data/bert-base-uncased/vocab.txt)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${blip_vocabulary_txt})
file(READ ${blip_vocabulary_txt} blip_vocabulary)
set(blip_vocabulary_cpp ${CMAKE_CURRENT_BINARY_DIR}/text/bundled_vocabulary.cpp)
configure_file(${CMAKE_CURRENT_LIST_DIR}/bundled_vocabulary.cpp.in ${blip_vocabulary_cpp} @ONLY)
target_sources(blip_text_objects PRIVATE ${blip_vocabulary_cpp})
