# Writes OUT, a C file that defines SYMBOL, a table of the texts of FILES in name order.
list(SORT FILES)
set(body "")
set(rows "")
set(i 0)
foreach(file ${FILES})
  get_filename_component(name ${file} NAME_WE)
  file(READ ${file} hex HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
  string(APPEND body "static const char text_${i}[] = {${bytes}0};\n")
  string(APPEND rows "    {\"${name}\", text_${i}, sizeof text_${i} - 1},\n")
  math(EXPR i "${i}+1")
endforeach()
file(WRITE ${OUT}
  "#include \"libgguf/embed.h\"\n\n${body}\nextern const gguf_embedded ${SYMBOL}[];\n"
  "const gguf_embedded ${SYMBOL}[] = {\n${rows}    {0, 0, 0},\n};\n")
