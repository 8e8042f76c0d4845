// What calls cost from C++, for bench/python.py: reads "load", "caption", "match", "ask" or "embed"
// with a count, one a line, and answers each with the median of so many calls in milliseconds.
#include <algorithm>
#include <chrono>
#include <functional>
#include <iostream>
#include <string>
#include <vector>

#include "blip/blip.h"

namespace {

double median_ms(int count, const std::function<void()>& call) {
  std::vector<double> times;
  for (int i = 0; i < count; ++i) {
    const auto start = std::chrono::steady_clock::now();
    call();
    times.push_back(
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
            .count());
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

void answer_requests(const std::string& model, const std::string& picture) {
  const blip::Engine engine = blip::Engine::load(model);
  blip::Session session(engine);
  const blip::EncodedImage image = session.encode(blip::Image::from_file(picture));
  std::string task;
  for (int count = 0; std::cin >> task >> count;) {
    std::function<void()> call;
    if (task == "load") call = [&] { blip::Engine::load(model); };
    if (task == "caption") call = [&] { session.caption(image); };
    if (task == "match") call = [&] { session.match(image, {"a clock"}); };
    if (task == "ask") call = [&] { session.ask(image, "is there a clock?"); };
    if (task == "embed") call = [&] { session.embed(image); };
    if (!call) throw blip::Error(blip::ErrorCode::kUsage, "unknown task " + task);
    std::cout << median_ms(count, call) << std::endl;
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: bench_calls MODEL PICTURE\n";
    return 2;
  }
  try {
    answer_requests(argv[1], argv[2]);
  } catch (const blip::Error& error) {
    std::cerr << "bench_calls: " << error.what() << '\n';
    return 1;
  }
  return 0;
}
