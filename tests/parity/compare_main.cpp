// parity_compare FOLDER [THREADS]: compares a folder of goldens with the library and prints one
// JSON object: what was compared, the largest errors, the failures. Exit code 1 if there are
// failures.
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "golden.h"

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: parity_compare FOLDER [THREADS]\n");
    return 2;
  }
  try {
    const blip::parity::Golden golden(argv[1]);
    const blip::Engine engine =
        blip::parity::load(golden.model_path(), argc > 2 ? std::atoi(argv[2]) : 1);
    blip::Session session(engine);
    blip::parity::Findings found;
    compare(golden, session, encode_all(golden, session), {}, found);
    blip::parity::Json out = found.counts;
    out.update(blip::parity::Json(found.max_errors));
    out["failures"] = found.failures;
    std::puts(out.dump().c_str());
    return found.failures.empty() ? 0 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "parity_compare: %s\n", error.what());
    return 2;
  }
}
