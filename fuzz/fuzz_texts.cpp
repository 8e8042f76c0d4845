// A list of texts as one JSON text, as the protocol of push_data allows it.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "base/ascii.h"
#include "server/fields.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace blip::server;
  const std::string text(reinterpret_cast<const char*>(data), size);
  const InputLimits limits{.max_images = 1, .max_texts = 5, .max_text_characters = 25};
  static const Fields fields(Request(), limits);
  try {
    const auto texts = fields.unpacked({text}, "texts");
    if (texts.size() > limits.max_texts) std::abort();
    for (const std::string& one : texts)
      if (one != text && (blip::is_blank(one) || one.size() > 4 * limits.max_text_characters))
        std::abort();
  } catch (const Problem& problem) {
    if (problem.kind().status != 400) std::abort();
  }
  return 0;
}
