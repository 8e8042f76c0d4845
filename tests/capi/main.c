/* Runs one test by name, or lists them without one. */
#include "check.h"

int failures = 0;
blip_status status = BLIP_OK;

void test_captions(void);
void test_words(void);
void test_nlvr(void);
void test_batches(void);
void test_answers(void);
void test_matches(void);
void test_embeddings(void);
void test_attention(void);
void test_images(void);
void test_information(void);
void test_conversion(void);
void test_adapters(void);
void test_null_arguments(void);
void test_wrong_handles(void);
void test_wrong_values(void);
void test_older_options(void);
void test_newer_options(void);
void test_errors(void);
void test_callbacks(void);
void test_cancelling(void);
void test_threads(void);
void test_busy_session(void);
void test_fork(void);
void test_hub(void);
void test_known_models(void);

static const struct {
  const char* name;
  void (*run)(void);
} tests[] = {
    {"captions", test_captions},
    {"words", test_words},
    {"nlvr", test_nlvr},
    {"batches", test_batches},
    {"answers", test_answers},
    {"matches", test_matches},
    {"embeddings", test_embeddings},
    {"attention", test_attention},
    {"images", test_images},
    {"information", test_information},
    {"conversion", test_conversion},
    {"adapters", test_adapters},
    {"null_arguments", test_null_arguments},
    {"wrong_handles", test_wrong_handles},
    {"wrong_values", test_wrong_values},
    {"older_options", test_older_options},
    {"newer_options", test_newer_options},
    {"errors", test_errors},
    {"callbacks", test_callbacks},
    {"cancelling", test_cancelling},
    {"threads", test_threads},
    {"busy_session", test_busy_session},
    {"fork", test_fork},
    {"hub", test_hub},
    {"known_models", test_known_models},
};

void check_text(const char* got, const char* expected, const char* file, int line) {
  if (got != NULL && strcmp(got, expected) == 0) return;
  fprintf(stderr, "%s:%d: \"%s\", expected \"%s\"\n", file, line, got ? got : "(NULL)", expected);
  ++failures;
}

void check_ok(blip_status got, blip_error* error, const char* file, int line) {
  if (got == BLIP_OK && error == NULL) return;
  fprintf(stderr, "%s:%d: %s: %s\n", file, line, blip_status_name(got), blip_error_message(error));
  ++failures;
  blip_error_free(error);
}

void check_fails(blip_status got, blip_status expected, blip_error* error, const char* contains,
                 const char* file, int line) {
  if (got != expected || blip_error_status(error) != expected ||
      strstr(blip_error_message(error), contains) == NULL) {
    fprintf(stderr, "%s:%d: %s: \"%s\", expected %s with \"%s\"\n", file, line,
            blip_status_name(got), blip_error_message(error), blip_status_name(expected), contains);
    ++failures;
  }
  blip_error_free(error);
}

const char* source_path(const char* below) {
  static char path[4096];
  snprintf(path, sizeof path, "%s/%s", BLIP_SOURCE_DIR, below);
  return path;
}

fixture set_up(const char* scene) {
  fixture f = {NULL, NULL, NULL, NULL};
  blip_error* error = NULL;
  char path[256];
  snprintf(path, sizeof path, "demo/scenes/%s", scene);
  if (blip_engine_load(source_path("models/blip-demo.gguf"), NULL, &f.engine, &error) != BLIP_OK ||
      blip_session_new(f.engine, NULL, &f.session, &error) != BLIP_OK ||
      blip_image_from_file(source_path(path), NULL, &f.image, &error) != BLIP_OK ||
      blip_session_encode(f.session, IMAGES(f), 1, &f.encoded, &error) != BLIP_OK) {
    fprintf(stderr, "cannot set up: %s\n", blip_error_message(error));
    exit(2);
  }
  return f;
}

/* The engine first: the others keep it alive. */
void tear_down(fixture* f) {
  blip_engine_free(f->engine);
  blip_image_free(f->image);
  blip_session_free(f->session);
  blip_encoded_free(f->encoded);
}

int main(int argc, char** argv) {
  size_t i;
  for (i = 0; i < sizeof tests / sizeof *tests; ++i) {
    if (argc < 2) {
      puts(tests[i].name);
    } else if (strcmp(argv[1], tests[i].name) == 0) {
      tests[i].run();
      printf("%s: %d checks failed\n", tests[i].name, failures);
      return failures != 0;
    }
  }
  return argc < 2 ? 0 : 2;
}
