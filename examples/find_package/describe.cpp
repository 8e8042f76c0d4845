// Says what is in a picture, whether a text fits it, and answers a question about it.
//   describe MODEL PICTURE TEXT QUESTION
#include <blip/blip.h>

#include <cstdio>

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "usage: describe MODEL PICTURE TEXT QUESTION\n");
    return 2;
  }
  try {
    const blip::Engine engine = blip::Engine::load(argv[1]);
    blip::Session session(engine);
    const blip::EncodedImage image = session.encode(blip::Image::from_file(argv[2]));
    std::printf("caption: %s\n", session.caption(image).text.c_str());
    std::printf(
        "match: %.3f\n",
        static_cast<double>(session.match(image, {argv[3]}).front().match_probability.value()));
    std::printf("answer: %s\n", session.ask(image, argv[4]).text.c_str());
  } catch (const blip::Error& error) {
    std::fprintf(stderr, "%s error: %s\n", blip::to_string(error.code()), error.what());
    return 1;
  }
}
