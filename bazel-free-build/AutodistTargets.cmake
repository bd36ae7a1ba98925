# What all our own targets have in common. Included once by the top-level CMakeLists.txt.

# Warnings and, when AUTODIST_SANITIZE names some, sanitizers: linked PRIVATE by each target of ours.
add_library(autodist_flags INTERFACE)
target_compile_features(autodist_flags INTERFACE cxx_std_17)
target_compile_options(autodist_flags INTERFACE -Wall -Wextra)
if(AUTODIST_SANITIZE)
  target_compile_options(
    autodist_flags INTERFACE "-fsanitize=${AUTODIST_SANITIZE}" -fno-sanitize-recover=all
                             -fno-omit-frame-pointer)
  if(AUTODIST_SANITIZE MATCHES "thread")
    # Where protobuf's headers see it they give messages a member that those of TensorFlow's library have not.
    target_compile_options(autodist_flags INTERFACE -U__SANITIZE_THREAD__)
  endif()
  target_link_options(autodist_flags INTERFACE "-fsanitize=${AUTODIST_SANITIZE}")
endif()
if(AUTODIST_FUZZ)
  target_compile_options(autodist_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

# autodist_name_sources_alike()
#
# Has what is compiled name files by paths that are the same wherever the sources, the build and TensorFlow are. So the
# same sources make the same bytes in every directory (`make reproducible`).
# REQUIRES: find_package(TensorFlow). Call it once, in the top-level directory.
function(autodist_name_sources_alike)
  target_compile_options(
    autodist_flags
    INTERFACE "-ffile-prefix-map=${PROJECT_SOURCE_DIR}/=" "-ffile-prefix-map=${PROJECT_BINARY_DIR}/=build/"
              "-ffile-prefix-map=${TensorFlow_INCLUDE_DIR}/=")
endfunction()

# autodist_add_tensorflow_headers()
#
# Defines the target that precompiles TensorFlow's headers, which take most of a source's compile time.
# REQUIRES: find_package(TensorFlow). Call it once, in the top-level directory.
function(autodist_add_tensorflow_headers)
  set(source "${PROJECT_BINARY_DIR}/tensorflow_headers.cc")
  file(CONFIGURE OUTPUT "${source}" CONTENT "")
  add_library(autodist_tensorflow_headers OBJECT "${source}")
  target_link_libraries(autodist_tensorflow_headers PRIVATE TensorFlow::framework autodist_flags)
  target_precompile_headers(
    autodist_tensorflow_headers
    PRIVATE
    <tensorflow/core/framework/op.h>
    <tensorflow/core/framework/op_kernel.h>
    <tensorflow/core/framework/resource_var.h>
    <tensorflow/core/graph/graph.h>
    <tensorflow/core/util/tensor_bundle/tensor_bundle.h>)
endfunction()

# autodist_precompiled(<target>...)
#
# Gives the targets the precompiled headers of TensorFlow. Their sources still include what they use.
function(autodist_precompiled)
  foreach(target IN LISTS ARGN)
    get_target_property(type ${target} TYPE)
    if(type STREQUAL "EXECUTABLE")
      # Precompiled headers are for one set of options: that of the libraries (-fPIC, not -fPIE).
      set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
      target_compile_options(${target} PRIVATE -fPIC)
    endif()
    target_precompile_headers(${target} REUSE_FROM autodist_tensorflow_headers)
  endforeach()
endfunction()

# autodist_module(<target>)
#
# Makes a loadable module part of the Python package: found beside TensorFlow when installed, also in a directory below
# `for_tensorflow`, and put into the source tree for an in-place build.
function(autodist_module target)
  set_target_properties(${target} PROPERTIES INSTALL_RPATH "$ORIGIN;$ORIGIN/../tensorflow;$ORIGIN/../../../tensorflow"
                                             BUILD_RPATH "$ORIGIN")
  if(AUTODIST_IN_PLACE)
    set_target_properties(${target} PROPERTIES LIBRARY_OUTPUT_DIRECTORY
                                               "${PROJECT_SOURCE_DIR}/python/autodist")
  else()
    # Linked as it is installed: the build id is a sum of what is linked, with the directory of TensorFlow otherwise.
    set_target_properties(${target} PROPERTIES BUILD_WITH_INSTALL_RPATH ON)
  endif()
  install(TARGETS ${target} LIBRARY DESTINATION autodist)
endfunction()

# autodist_python_module(<name> SOURCES <path>... LIBRARIES <target>...)
#
# Makes a pybind11 module for Python_EXECUTABLE, and one for each of AUTODIST_OTHER_PYTHONS. pybind11 has no stable ABI:
# each minor version of Python needs a module of its own. Without the link-time optimization of pybind11: it took longer than
# to compile, and the work is done in our libraries, which are compiled without.
# REQUIRES: find_package(pybind11).
function(autodist_python_module name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LIBRARIES")
  pybind11_add_module(${name} MODULE NO_EXTRAS ${arg_SOURCES})
  set(targets ${name})
  foreach(python IN LISTS AUTODIST_OTHER_PYTHONS)
    execute_process(
      COMMAND "${python}" -c "import sysconfig as s; print(s.get_config_var('EXT_SUFFIX'), s.get_path('include'), sep=';')"
      OUTPUT_VARIABLE described
      OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
    list(GET described 0 suffix)
    list(GET described 1 include)
    set(target ${name}${suffix})
    add_library(${target} MODULE ${arg_SOURCES})
    target_include_directories(${target} SYSTEM PRIVATE "${pybind11_INCLUDE_DIR}" "${include}")
    set_target_properties(${target} PROPERTIES PREFIX "" OUTPUT_NAME ${name} SUFFIX "${suffix}"
                                               CXX_VISIBILITY_PRESET hidden)
    list(APPEND targets ${target})
  endforeach()
  foreach(target IN LISTS targets)
    pybind11_strip(${target})
    target_include_directories(${target} PRIVATE "${PROJECT_SOURCE_DIR}/cc")
    target_link_libraries(${target} PRIVATE ${arg_LIBRARIES} autodist_flags)
    autodist_module(${target})
  endforeach()
endfunction()

# autodist_tests(<room> LIBRARIES <target>... NAMES <path>...)
#
# The C++ tests of a room: <path>.cc below the current directory. ctest runs them when AUTODIST_BUILD_TESTS is on.
# Each is a program named as its file; with AUTODIST_UNITY all of them are one, <room>_tests. The first argument of
# either selects tests by name.
function(autodist_tests room)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "LIBRARIES;NAMES")
  if(NOT AUTODIST_BUILD_TESTS)
    return()
  endif()
  set(all "")
  foreach(path IN LISTS arg_NAMES)
    get_filename_component(name "${path}" NAME)
    if(AUTODIST_UNITY)
      set(name ${room}_tests)
    endif()
    list(APPEND all ${name})
    list(APPEND sources_of_${name} ${path}.cc)
  endforeach()
  list(REMOVE_DUPLICATES all)
  foreach(name IN LISTS all)
    add_executable(${name} ${sources_of_${name}})
    target_link_libraries(${name} PRIVATE ${arg_LIBRARIES} autodist_test_main autodist_flags)
    target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}/cc")
    if(TARGET autodist_tensorflow_headers AND NOT arg_LIBRARIES MATCHES "^autodist_(core|tables)$")
      autodist_precompiled(${name})
    endif()
    add_test(NAME ${name} COMMAND ${name})
  endforeach()
endfunction()
