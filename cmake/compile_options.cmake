# How every target of the project is compiled. Nothing here is exported to users of the library.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_COMPILE_WARNING_AS_ERROR ON)

# -O2: the same optimisation that kernels ship with. Link-time optimisation is left to whoever wants it
# (-DCMAKE_INTERPROCEDURAL_OPTIMIZATION=ON): what must be inlined lives in headers.
set(CMAKE_CXX_FLAGS_RELEASE "-O2")

# a place in the source is named relative to the project, in reports and in what is installed
add_compile_options(-fmacro-prefix-map=${PROJECT_SOURCE_DIR}/=)

# an aggregate says its defaults where it is declared, so leaving a member out is no slip
add_compile_options(-Wall -Wextra -Wshadow -Wno-missing-field-initializers)
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
  # gcc 12 sees overlapping copies in std::string::insert and operator+ where there are none (PR 105651)
  add_compile_options(-Wno-restrict)
elseif(CMAKE_CXX_COMPILER_ID MATCHES Clang)
  # src/sync/annotations.h states lock requirements; this is the compiler that checks them
  add_compile_options(-Wthread-safety)
endif()

if(RACEWALK_SANITIZE)
  add_compile_options(-fsanitize=${RACEWALK_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g1)
  add_link_options(-fsanitize=${RACEWALK_SANITIZE})
endif()
