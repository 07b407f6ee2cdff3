# regroup_room(NAME SOURCES ... DEPS rooms ... LIBS targets ...): one static library a room, which
# links lower rooms only. The tidy test reads the includes against the same table.
add_library(regroup_flags INTERFACE)
target_include_directories(regroup_flags INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_options(regroup_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror
  -fstack-protector-strong -D_GLIBCXX_ASSERTIONS
  # g++ 12 reports an impossible overlap in std::string operator+ when it optimises (GCC 105651).
  -Wno-restrict)
if(CMAKE_BUILD_TYPE STREQUAL "Release")
  target_compile_options(regroup_flags INTERFACE -D_FORTIFY_SOURCE=2)
endif()
target_link_options(regroup_flags INTERFACE -Wl,-z,relro,-z,now)
target_compile_definitions(regroup_flags INTERFACE REGROUP_VERSION="${PROJECT_VERSION}")
if(REGROUP_SANITIZE)
  target_compile_options(regroup_flags INTERFACE -fsanitize=${REGROUP_SANITIZE}
    -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(regroup_flags INTERFACE -fsanitize=${REGROUP_SANITIZE})
  if(REGROUP_SANITIZE MATCHES "thread")
    # TSan cannot follow bare fences; Asio's locks order the same memory.
    target_compile_definitions(regroup_flags INTERFACE ASIO_DISABLE_FENCED_BLOCK
      BOOST_ASIO_DISABLE_FENCED_BLOCK)
    target_compile_options(regroup_flags INTERFACE -Wno-tsan)
  endif()
  if(REGROUP_SANITIZE MATCHES "undefined")
    # cpprestsdk hides its type information: this check sees a wrong type in each of its streams.
    target_compile_options(regroup_flags INTERFACE -fno-sanitize=vptr)
  endif()
endif()

function(regroup_room NAME)
  cmake_parse_arguments(ROOM "" "" "SOURCES;DEPS;LIBS" ${ARGN})
  add_library(regroup_${NAME} STATIC ${ROOM_SOURCES})
  target_link_libraries(regroup_${NAME} PUBLIC regroup_flags ${ROOM_LIBS})
  foreach(dep IN LISTS ROOM_DEPS)
    target_link_libraries(regroup_${NAME} PUBLIC regroup_${dep})
  endforeach()
endfunction()
