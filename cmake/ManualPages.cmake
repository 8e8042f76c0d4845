# The manual pages blip.1 and blip-COMMAND.1 of the program's commands, as the program itself prints
# them. cmake -DPROGRAM=... [-DEMULATOR=COMMAND,ARGUMENT,...] -DFOLDER=... -P ManualPages.cmake
string(REPLACE "," ";" EMULATOR "${EMULATOR}")

function(print_page name)
  execute_process(COMMAND ${EMULATOR} ${PROGRAM} completions man ${name} OUTPUT_VARIABLE page
      RESULT_VARIABLE failed)
  if(failed)
    message(FATAL_ERROR "${PROGRAM} completions man ${name} failed")
  endif()
  file(WRITE ${FOLDER}/blip${dash}${name}.1 "${page}")
  set(page "${page}" PARENT_SCOPE)
endfunction()

file(REMOVE_RECURSE ${FOLDER})
set(dash "")
print_page("")
string(REGEX MATCHALL "[.]BR blip\\\\-[a-z\\-]+" commands "${page}")
set(dash "-")
foreach(command ${commands})
  string(REPLACE ".BR blip\\-" "" command "${command}")
  string(REPLACE "\\-" "-" command "${command}")
  print_page(${command})
endforeach()
