# Writes a C++ file that holds files as byte arrays, run at build time:
#   cmake -DOUTPUT=FILE -DFOLDER=DIR -DFILES=a;b -P EmbedFiles.cmake
set(arrays "")
set(table "")
set(index 0)
foreach(name IN LISTS FILES)
  file(READ ${FOLDER}/${name} hex HEX)
  string(REGEX REPLACE "(................................................................)" "\\1\n"
      hex "${hex}")
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
  string(APPEND arrays "const unsigned char kFile${index}[] = {\n${bytes}\n};\n")
  string(APPEND table
      "    {\"${name}\", {reinterpret_cast<const char*>(kFile${index}), sizeof kFile${index}}},\n")
  math(EXPR index "${index} + 1")
endforeach()
file(WRITE ${OUTPUT} "#include \"server/assets.h\"

namespace blip::server {
namespace {

${arrays}
const Asset kAssets[] = {
${table}};

}  // namespace

std::span<const Asset> assets() { return kAssets; }

}  // namespace blip::server
")
