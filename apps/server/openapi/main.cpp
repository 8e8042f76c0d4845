// Writes the OpenAPI document: blip_openapi TEMPLATE OUTPUT. The target `openapi` runs it over the
// committed files.
#include <cstdio>
#include <exception>
#include <fstream>

#include "server/openapi.h"

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fputs("usage: blip_openapi TEMPLATE OUTPUT\n", stderr);
    return 2;
  }
  try {
    std::ifstream file(argv[1]);
    const auto document = blip::server::openapi_document(blip::server::Json::parse(file));
    std::ofstream(argv[2]) << document.dump(1) << '\n';
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "blip_openapi: %s\n", error.what());
    return 1;
  }
}
