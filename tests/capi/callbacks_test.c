/* Callbacks, cancelling, threads and forks. */
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

typedef struct log {
  int calls;
  int stop_after;
  char last[256];
} log_t;

static int32_t on_token(int32_t id, const char* text, void* user_data) {
  log_t* log = user_data;
  CHECK(id >= 0);
  snprintf(log->last, sizeof log->last, "%s", text);
  return ++log->calls == log->stop_after;
}

static void on_warning(const char* message, void* user_data) {
  log_t* log = user_data;
  ++log->calls;
  snprintf(log->last, sizeof log->last, "%s", message);
}

static int32_t on_progress(const char* stage, size_t done, size_t total, void* user_data) {
  log_t* log = user_data;
  CHECK(done <= total);
  snprintf(log->last, sizeof log->last, "%s", stage);
  return ++log->calls == log->stop_after;
}

static int32_t on_cancel(void* user_data) {
  log_t* log = user_data;
  return ++log->calls >= log->stop_after;
}

void test_callbacks(void) {
  fixture f = set_up("clock.png");
  blip_error* error;
  blip_engine* engine;
  blip_session* session;
  blip_matches* matches;
  blip_generations* generations;
  blip_engine_options engine_options;
  blip_session_options session_options;
  blip_caption_options options;
  blip_generate_options generate;
  log_t log = {0, 0, ""};
  char words[2000] = "";
  const char* long_text = words;
  int i;
  blip_engine_options_default(&engine_options, sizeof engine_options);
  engine_options.progress = on_progress;
  engine_options.user_data = &log;
  OK(blip_engine_load(source_path("models/blip-demo.gguf"), &engine_options, &engine, &error));
  CHECK(log.calls > 50);
  CHECK_TEXT(log.last, "load");
  blip_engine_free(engine);

  blip_caption_options_default(&options, sizeof options);
  blip_generate_options_default(&generate, sizeof generate);
  generate.beams = 1;
  options.generate = &generate;
  options.on_token = on_token;
  options.user_data = &log;
  log.calls = 0;
  OK(blip_session_caption(f.session, PICTURES(f), 1, &options, &generations, &error));
  CHECK_TEXT(log.last, "a clock on a gray background");
  CHECK(log.calls >= 6);
  blip_generations_free(generations);

  for (i = 0; i < 60; ++i) strcat(words, "clock ");
  blip_session_options_default(&session_options, sizeof session_options);
  session_options.warning = on_warning;
  session_options.user_data = &log;
  OK(blip_session_new(f.engine, &session_options, &session, &error));
  log.calls = 0;
  OK(blip_session_match(session, f.encoded, &long_text, 1, NULL, &matches, &error));
  CHECK(log.calls == 1 && strstr(log.last, "text truncated to 35 tokens") != NULL);
  blip_matches_free(matches);
  blip_session_free(session);
  tear_down(&f);
}

void test_cancelling(void) {
  fixture f = set_up("clock.png");
  blip_error* error;
  blip_engine* engine;
  blip_session* session;
  blip_generations* generations;
  blip_engine_options engine_options;
  blip_session_options session_options;
  blip_caption_options options;
  blip_generate_options generate;
  log_t log = {0, 3, ""};
  int calls;
  blip_engine_options_default(&engine_options, sizeof engine_options);
  engine_options.progress = on_progress;
  engine_options.user_data = &log;
  FAILS(blip_engine_load(source_path("models/blip-demo.gguf"), &engine_options, &engine, &error),
        BLIP_ERROR_CANCELLED, "cancelled");
  CHECK(engine == NULL && log.calls == 3);

  blip_caption_options_default(&options, sizeof options);
  blip_generate_options_default(&generate, sizeof generate);
  generate.beams = 1;
  options.generate = &generate;
  options.on_token = on_token;
  options.user_data = &log;
  for (log.stop_after = 1; log.stop_after < 7; ++log.stop_after) {
    log.calls = 0;
    FAILS(blip_session_caption(f.session, PICTURES(f), 1, &options, &generations, &error),
          BLIP_ERROR_CANCELLED, "cancelled");
    CHECK(generations == NULL && log.calls <= log.stop_after + 1);
  }
  /* Also with the last token; and the session works on afterwards. */
  log.stop_after = 0;
  log.calls = 0;
  OK(blip_session_caption(f.session, PICTURES(f), 1, &options, &generations, &error));
  blip_generations_free(generations);
  calls = log.calls;
  log.stop_after = calls;
  log.calls = 0;
  FAILS(blip_session_caption(f.session, PICTURES(f), 1, &options, &generations, &error),
        BLIP_ERROR_CANCELLED, "cancelled");

  blip_session_options_default(&session_options, sizeof session_options);
  session_options.cancel = on_cancel;
  session_options.user_data = &log;
  OK(blip_session_new(f.engine, &session_options, &session, &error));
  log.calls = 0;
  log.stop_after = 2;
  FAILS(blip_session_caption(session, PICTURES(f), 1, NULL, &generations, &error),
        BLIP_ERROR_CANCELLED, "cancelled");
  CHECK(log.calls == 2);
  blip_session_free(session);
  blip_session_cancel(f.session); /* at nothing: nothing to end */
  OK(blip_session_caption(f.session, PICTURES(f), 1, NULL, &generations, &error));
  blip_generations_free(generations);
  tear_down(&f);
}

static void* caption_many(void* engine) {
  blip_error* error = NULL;
  blip_session* session = NULL;
  blip_image* image = NULL;
  blip_encoded* encoded = NULL;
  blip_generations* captions = NULL;
  int i;
  intptr_t wrong = 0;
  char path[1024];
  snprintf(path, sizeof path, "%s/demo/scenes/clock.png", BLIP_SOURCE_DIR);
  wrong += blip_session_new(engine, NULL, &session, &error) != BLIP_OK;
  wrong += blip_image_from_file(path, NULL, &image, &error) != BLIP_OK;
  for (i = 0; i < 5; ++i) {
    wrong += blip_session_encode(session, (const blip_image* const*)&image, 1, &encoded, &error) !=
             BLIP_OK;
    wrong += blip_session_caption(session, (const blip_encoded* const*)&encoded, 1, NULL, &captions,
                                  &error) != BLIP_OK;
    wrong += strcmp(blip_generations_at(captions, 0, 0)->text, "a clock on a gray background") != 0;
    blip_generations_free(captions);
    blip_encoded_free(encoded);
  }
  blip_image_free(image);
  blip_session_free(session);
  return (void*)wrong;
}

void test_threads(void) {
  fixture f = set_up("clock.png");
  pthread_t threads[4];
  void* wrong;
  int i;
  for (i = 0; i < 4; ++i) pthread_create(&threads[i], NULL, caption_many, f.engine);
  for (i = 0; i < 4; ++i) {
    pthread_join(threads[i], &wrong);
    CHECK(wrong == NULL);
  }
  tear_down(&f);
}

static fixture* shared;
static blip_status inner_status, other_status;

static void* use_session(void* unused) {
  blip_generations* captions;
  (void)unused;
  other_status = blip_session_caption(shared->session, PICTURES(*shared), 1, NULL, &captions, NULL);
  blip_session_cancel(shared->session);
  return NULL;
}

/* From the callback of a call on it, and from another thread meanwhile, which then ends that call.
 */
static int32_t use_again(int32_t id, const char* text, void* user_data) {
  blip_generations* captions;
  pthread_t thread;
  (void)id;
  (void)text;
  (void)user_data;
  inner_status = blip_session_caption(shared->session, PICTURES(*shared), 1, NULL, &captions, NULL);
  pthread_create(&thread, NULL, use_session, NULL);
  pthread_join(thread, NULL);
  return 0;
}

void test_busy_session(void) {
  fixture f = set_up("clock.png");
  blip_error* error;
  blip_generations* captions;
  blip_caption_options options;
  blip_generate_options generate;
  shared = &f;
  blip_caption_options_default(&options, sizeof options);
  blip_generate_options_default(&generate, sizeof generate);
  generate.beams = 1;
  options.generate = &generate;
  options.on_token = use_again;
  FAILS(blip_session_caption(f.session, PICTURES(f), 1, &options, &captions, &error),
        BLIP_ERROR_CANCELLED, "cancelled");
  CHECK(inner_status == BLIP_ERROR_USAGE && other_status == BLIP_ERROR_USAGE);
  tear_down(&f);
}

/* A child of fork() is told so, may free what it inherited, and can load the model itself. */
void test_fork(void) {
  fixture f = set_up("clock.png");
  int exited = -1;
  pid_t child = fork();
  if (child == 0) {
    blip_error* error;
    blip_session* session;
    blip_generations* captions;
    FAILS(blip_session_caption(f.session, PICTURES(f), 1, NULL, &captions, &error),
          BLIP_ERROR_USAGE, "forked");
    FAILS(blip_session_new(f.engine, NULL, &session, &error), BLIP_ERROR_USAGE, "forked");
    CHECK(blip_image_width(f.image) > 0);
    tear_down(&f);
    f = set_up("clock.png");
    OK(blip_session_caption(f.session, PICTURES(f), 1, NULL, &captions, &error));
    CHECK_TEXT(blip_generations_at(captions, 0, 0)->text, "a clock on a gray background");
    blip_generations_free(captions);
    tear_down(&f);
    _exit(failures == 0 ? 0 : 1);
  }
  waitpid(child, &exited, 0);
  CHECK(WIFEXITED(exited) && WEXITSTATUS(exited) == 0);
  tear_down(&f);
}
