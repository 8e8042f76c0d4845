// The body of /v1/chat/completions.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "server/chat.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace blip::server;
  Request request;
  request.body.assign(reinterpret_cast<const char*>(data), size);
  try {
    const ChatRequest chat = read_chat(request, 100);
    const auto& o = chat.generate;
    const bool sane = !chat.picture.empty() && chat.text.size() <= 100 && o.num_return >= 1 &&
                      o.max_length >= 1 && o.max_length <= 512 &&
                      o.min_length.value_or(0) <= o.max_length && std::isfinite(o.temperature) &&
                      o.temperature > 0;
    if (!sane) std::abort();
  } catch (const Problem& problem) {
    if (problem.kind().status != 400) std::abort();
    chat_problem(problem.kind(), problem.what(), "id");
  }
  return 0;
}
