# Turns text files into one C++ source: cmake -DOUTPUT=x.cc -DFILES="a.html;b.js" -P embed.cmake
# Each file becomes a constant of report/pages.h, named after it: page_css for page.css.
set(source "// Made from src/report/pages by cmake/embed.cmake.\n#include \"report/pages.h\"\n\nnamespace racewalk::report {\n")
foreach(path IN LISTS FILES)
  get_filename_component(name ${path} NAME)
  string(REPLACE "." "_" name ${name})
  file(READ ${path} text)
  string(APPEND source "\nconst std::string_view ${name} = R\"===(${text})===\";\n")
endforeach()
file(WRITE ${OUTPUT} "${source}\n} // namespace racewalk::report\n")
