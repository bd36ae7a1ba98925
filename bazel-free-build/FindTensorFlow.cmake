# Finds the pip-installed TensorFlow of Python_EXECUTABLE and defines
#
#   TensorFlow::framework   headers, libtensorflow_framework, definitions and language standard
#
# and TensorFlow_VERSION, TensorFlow_DISTRIBUTION, TensorFlow_LIBRARY_DIR, TensorFlow_CXX11_ABI.

# Describing takes seconds, so it is done again only when another TensorFlow is found.
execute_process(
  COMMAND "${Python_EXECUTABLE}" "${CMAKE_CURRENT_LIST_DIR}/tensorflow_pin.py"
  OUTPUT_VARIABLE _installed
  OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
if(NOT TensorFlow_DESCRIPTION OR NOT TensorFlow_DESCRIBED STREQUAL _installed)
  message(STATUS "Asking ${Python_EXECUTABLE} for its TensorFlow")
  execute_process(
    COMMAND "${Python_EXECUTABLE}" "${CMAKE_CURRENT_LIST_DIR}/describe_tensorflow.py"
    OUTPUT_VARIABLE _description
    ERROR_VARIABLE _errors
    RESULT_VARIABLE _result
    OUTPUT_STRIP_TRAILING_WHITESPACE)
  # A cache entry is one line.
  string(REPLACE "\n" "|" _description "${_description}")
  if(_result EQUAL 0)
    set(TensorFlow_DESCRIPTION "${_description}" CACHE INTERNAL "What describe_tensorflow.py printed")
    set(TensorFlow_DESCRIBED "${_installed}" CACHE INTERNAL "The TensorFlow that is described")
  else()
    unset(TensorFlow_DESCRIPTION CACHE)
    set(TensorFlow_NOT_FOUND_MESSAGE "${_errors}")
  endif()
endif()

foreach(_key IN ITEMS DISTRIBUTION VERSION INCLUDE_DIR LIBRARY_DIR CXX11_ABI DEFINITIONS STANDARD)
  if("|${TensorFlow_DESCRIPTION}|" MATCHES "\\|${_key}=([^|]*)\\|")
    set(TensorFlow_${_key} "${CMAKE_MATCH_1}")
  endif()
endforeach()

string(REGEX REPLACE "^[0-9]+\\.([0-9]+)\\..*" "\\1" TensorFlow_MINOR_VERSION "${TensorFlow_VERSION}")

set(TensorFlow_LIBRARY "${TensorFlow_LIBRARY_DIR}/libtensorflow_framework.so.2")
if(NOT EXISTS "${TensorFlow_LIBRARY}")
  unset(TensorFlow_LIBRARY)
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  TensorFlow
  REQUIRED_VARS TensorFlow_LIBRARY TensorFlow_INCLUDE_DIR TensorFlow_STANDARD
  VERSION_VAR TensorFlow_VERSION
  REASON_FAILURE_MESSAGE "${TensorFlow_NOT_FOUND_MESSAGE}")

if(TensorFlow_FOUND AND NOT TARGET TensorFlow::framework)
  add_library(TensorFlow::framework SHARED IMPORTED)
  set_target_properties(
    TensorFlow::framework
    PROPERTIES IMPORTED_LOCATION "${TensorFlow_LIBRARY}"
               IMPORTED_SONAME libtensorflow_framework.so.2
               INTERFACE_INCLUDE_DIRECTORIES "${TensorFlow_INCLUDE_DIR}"
               INTERFACE_COMPILE_FEATURES "cxx_std_${TensorFlow_STANDARD}"
               # Without NDEBUG the containers in TensorFlow's headers have another layout than in
               # the wheel and graph passes crash, so every build type has it, sanitizers included.
               # For cc/versions: TensorFlow's headers do not say it in all versions.
               INTERFACE_COMPILE_DEFINITIONS
               "${TensorFlow_DEFINITIONS};NDEBUG;TENSORFLOW_MINOR_VERSION=${TensorFlow_MINOR_VERSION}")
endif()
