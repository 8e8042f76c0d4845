/* Bad arguments end in errors that name them. */
#include "check.h"

void test_null_arguments(void) {
  fixture f = set_up("clock.png");
  static const char* const texts[] = {"a clock", NULL};
  const blip_encoded* none[1] = {NULL};
  blip_error* error;
  blip_engine* engine;
  blip_session* session;
  blip_image* image;
  blip_encoded* encoded[1];
  blip_generations* generations;
  blip_matches* matches;
  blip_tensor* tensor;
  int32_t dtype;
  char* path;
  FAILS(blip_engine_load(NULL, NULL, &engine, &error), BLIP_ERROR_USAGE, "path is NULL");
  FAILS(blip_engine_load("x", NULL, NULL, &error), BLIP_ERROR_USAGE,
        "place for the result is NULL");
  FAILS(blip_session_new(NULL, NULL, &session, &error), BLIP_ERROR_USAGE, "engine is NULL");
  CHECK(session == NULL);
  FAILS(blip_image_from_file(NULL, NULL, &image, &error), BLIP_ERROR_USAGE, "path is NULL");
  FAILS(blip_image_from_memory(NULL, 4, NULL, &image, &error), BLIP_ERROR_USAGE, "bytes is NULL");
  FAILS(blip_image_from_rgb(NULL, 4, 4, 0, &image, &error), BLIP_ERROR_USAGE, "pixels");
  FAILS(blip_session_encode(f.session, NULL, 1, encoded, &error), BLIP_ERROR_USAGE,
        "images is NULL");
  FAILS(blip_session_encode(f.session, IMAGES(f), 1, NULL, &error), BLIP_ERROR_USAGE,
        "place for the results");
  FAILS(blip_session_encode(NULL, IMAGES(f), 1, encoded, &error), BLIP_ERROR_USAGE,
        "session is NULL");
  CHECK(encoded[0] == NULL);
  FAILS(blip_session_caption(f.session, none, 1, NULL, &generations, &error), BLIP_ERROR_USAGE,
        "images[0] is NULL");
  FAILS(blip_session_caption(f.session, NULL, 1, NULL, &generations, &error), BLIP_ERROR_USAGE,
        "images is NULL");
  FAILS(blip_session_caption(f.session, PICTURES(f), 1, NULL, NULL, &error), BLIP_ERROR_USAGE,
        "place for the result");
  FAILS(blip_session_ask(f.session, NULL, texts, 1, NULL, &generations, &error), BLIP_ERROR_USAGE,
        "image is NULL");
  FAILS(blip_session_match(f.session, f.encoded, texts, 2, NULL, &matches, &error),
        BLIP_ERROR_USAGE, "texts[1] is NULL");
  FAILS(blip_session_match(f.session, f.encoded, NULL, 2, NULL, &matches, &error), BLIP_ERROR_USAGE,
        "texts is NULL");
  FAILS(blip_session_rank(f.session, f.encoded, NULL, texts, 1, NULL, &generations, &error),
        BLIP_ERROR_USAGE, "question is NULL");
  FAILS(blip_session_embed_texts(f.session, NULL, 1, NULL, &tensor, &error), BLIP_ERROR_USAGE,
        "texts is NULL");
  FAILS(blip_dtype_parse("f32", NULL, &error), BLIP_ERROR_USAGE, "place for the result");
  FAILS(blip_dtype_parse("f31", &dtype, &error), BLIP_ERROR_USAGE, "f31");
  FAILS(blip_convert("a", NULL, NULL, &error), BLIP_ERROR_USAGE, "destination is NULL");
  FAILS(blip_pull(NULL, NULL, &path, &error), BLIP_ERROR_USAGE, "name is NULL");
  FAILS(blip_pull("a/b", NULL, NULL, &error), BLIP_ERROR_USAGE, "place for the result");
  FAILS(blip_cached_models(NULL, NULL, &error), BLIP_ERROR_USAGE, "place for the result");
  /* No place for the error either. */
  CHECK(blip_engine_load(NULL, NULL, NULL, NULL) == BLIP_ERROR_USAGE);
  /* Accessors of nothing. */
  CHECK(blip_engine_info(NULL) == NULL && blip_engine_device(NULL) == NULL &&
        blip_engine_dtype(NULL) == -1);
  CHECK(blip_image_width(NULL) == 0 && blip_image_data(NULL) == NULL &&
        isnan(blip_encoded_encode_ms(NULL)));
  CHECK(blip_generations_count(NULL) == 0 && blip_generations_at(NULL, 0, 0) == NULL);
  CHECK(blip_matches_probabilities(NULL) == NULL && blip_tensor_shape(NULL) == NULL &&
        blip_attention_word(NULL, 0, 0) == NULL);
  blip_engine_free(NULL);
  blip_session_free(NULL);
  blip_session_cancel(NULL);
  blip_image_free(NULL);
  blip_encoded_free(NULL);
  blip_generations_free(NULL);
  blip_matches_free(NULL);
  blip_tensor_free(NULL);
  blip_attention_free(NULL);
  blip_networks_free(NULL);
  blip_device_list_free(NULL);
  blip_inspection_free(NULL);
  blip_error_free(NULL);
  blip_generate_options_default(NULL, 99);
  tear_down(&f);
}

void test_wrong_handles(void) {
  fixture f = set_up("clock.png"), g = set_up("clock.png");
  static const char* const texts[] = {"a clock"};
  const blip_encoded* pictures[1];
  blip_error* error;
  blip_session* session;
  blip_generations* generations;
  blip_matches* matches;
  FAILS(blip_session_new((blip_engine*)f.image, NULL, &session, &error), BLIP_ERROR_USAGE,
        "engine is a handle of another type");
  pictures[0] = (const blip_encoded*)f.session;
  FAILS(blip_session_caption(f.session, pictures, 1, NULL, &generations, &error), BLIP_ERROR_USAGE,
        "images[0] is a handle of another type");
  FAILS(blip_session_match((blip_session*)f.encoded, f.encoded, texts, 1, NULL, &matches, &error),
        BLIP_ERROR_USAGE, "session is a handle");
  CHECK(blip_engine_info((blip_engine*)f.session) == NULL);
  CHECK(blip_tensor_data((blip_tensor*)f.encoded) == NULL);
  blip_image_free((blip_image*)f.engine); /* does nothing */
  CHECK(blip_engine_threads(f.engine) > 0);
  /* A picture of another engine. */
  FAILS(blip_session_match(f.session, g.encoded, texts, 1, NULL, &matches, &error),
        BLIP_ERROR_USAGE, "another engine");
  tear_down(&f);
  tear_down(&g);
}

void test_wrong_values(void) {
  fixture f = set_up("clock.png");
  static const char* const blank[] = {" "};
  blip_error* error;
  blip_engine* engine;
  blip_session* session;
  blip_generations* generations;
  blip_matches* matches;
  blip_tensor* tensor;
  blip_engine_options engine_options;
  blip_session_options session_options;
  blip_caption_options caption_options;
  blip_generate_options generate;
  blip_match_options match_options;
  char path[1024];
  snprintf(path, sizeof path, "%s", source_path("models/blip-demo.gguf"));
  blip_engine_options_default(&engine_options, sizeof engine_options);
  engine_options.threads = 5000;
  FAILS(blip_engine_load(path, &engine_options, &engine, &error), BLIP_ERROR_USAGE, "5000");
  engine_options.threads = 1;
  engine_options.dtype = 17;
  FAILS(blip_engine_load(path, &engine_options, &engine, &error), BLIP_ERROR_USAGE,
        "blip_engine_options.dtype is 17");
  engine_options.dtype = BLIP_DTYPE_F32;
  engine_options.tokenizer = "vocab.txt";
  FAILS(blip_engine_load(path, &engine_options, &engine, &error), BLIP_ERROR_USAGE, "tokenizer");
  engine_options.tokenizer = NULL;
  engine_options.device = "gpu";
  FAILS(blip_engine_load(path, &engine_options, &engine, &error), BLIP_ERROR_DEVICE, "gpu");
  engine_options.device = NULL;
  FAILS(blip_engine_load("/nowhere.gguf", &engine_options, &engine, &error), BLIP_ERROR_IO,
        "/nowhere.gguf");
  FAILS(blip_engine_load(source_path("README.md"), &engine_options, &engine, &error),
        BLIP_ERROR_MODEL, "README.md");
  OK(blip_engine_load(path, &engine_options, &engine, &error));
  CHECK(blip_engine_threads(engine) == 1);
  blip_engine_free(engine);
  blip_session_options_default(&session_options, sizeof session_options);
  session_options.threads = -1;
  FAILS(blip_session_new(f.engine, &session_options, &session, &error), BLIP_ERROR_USAGE, "-1");
  blip_caption_options_default(&caption_options, sizeof caption_options);
  blip_generate_options_default(&generate, sizeof generate);
  caption_options.generate = &generate;
  generate.beams = 0;
  FAILS(blip_session_caption(f.session, PICTURES(f), 1, &caption_options, &generations, &error),
        BLIP_ERROR_USAGE, "beams");
  generate.beams = 1;
  generate.num_return = 2;
  FAILS(blip_session_caption(f.session, PICTURES(f), 1, &caption_options, &generations, &error),
        BLIP_ERROR_USAGE, "num_return");
  blip_match_options_default(&match_options, sizeof match_options);
  match_options.head = 3;
  FAILS(blip_session_match(f.session, f.encoded, blank, 1, &match_options, &matches, &error),
        BLIP_ERROR_USAGE, "blip_match_options.head is 3");
  FAILS(blip_session_match(f.session, f.encoded, blank, 1, NULL, &matches, &error),
        BLIP_ERROR_USAGE, "empty text");
  FAILS(blip_session_dump(f.session, 9, f.image, NULL, &tensor, &error), BLIP_ERROR_USAGE,
        "stage is 9");
  CHECK(tensor == NULL);
  CHECK_TEXT(blip_dtype_name(99), "unknown");
  CHECK_TEXT(blip_status_name(99), "unknown");
  tear_down(&f);
}

/* A program that was built with a header whose struct ended early: what it does not have takes its
 * default, even where memory behind it holds something else. */
void test_older_options(void) {
  fixture f = set_up("clock.png");
  blip_error* error;
  blip_generations* generations;
  blip_generate_options generate;
  blip_caption_options options;
  struct {
    uint32_t struct_size;
    int32_t beams;
  } old;
  memset(&generate, 0xAB, sizeof generate);
  blip_generate_options_default(&generate, 16);
  CHECK(generate.struct_size == 16 && generate.beams == 3 && generate.max_length == -1);
  CHECK(generate.num_return == (int32_t)0xABABABAB); /* not written beyond the caller's struct */
  blip_caption_options_default(&options, sizeof options);
  options.generate = &generate;
  OK(blip_session_caption(f.session, PICTURES(f), 1, &options, &generations, &error));
  CHECK(blip_generations_texts(generations, 0) == 1);
  CHECK_TEXT(blip_generations_at(generations, 0, 0)->text, "a clock on a gray background");
  blip_generations_free(generations);

  blip_generate_options_default((blip_generate_options*)(void*)&old, sizeof old);
  CHECK(old.struct_size == sizeof old && old.beams == 3);
  old.beams = 100;
  options.generate = (const blip_generate_options*)(const void*)&old;
  FAILS(blip_session_caption(f.session, PICTURES(f), 1, &options, &generations, &error),
        BLIP_ERROR_USAGE, "100");
  old.beams = 1;
  OK(blip_session_caption(f.session, PICTURES(f), 1, &options, &generations, &error));
  blip_generations_free(generations);
  tear_down(&f);
}

/* And one that was built with a header that has fields this library does not know. */
void test_newer_options(void) {
  fixture f = set_up("clock.png");
  static const uint32_t wrong_sizes[] = {0, 3, 21, 5000, 0xFFFFFFF8u};
  blip_error* error;
  blip_generations* generations;
  struct {
    blip_caption_options known;
    uint64_t unknown[2];
  } options;
  size_t i;
  memset(&options, 0xAB, sizeof options);
  blip_caption_options_default(&options.known, sizeof options);
  CHECK(options.unknown[0] == 0 && options.unknown[1] == 0 &&
        options.known.struct_size == sizeof options);
  OK(blip_session_caption(f.session, PICTURES(f), 1, &options.known, &generations, &error));
  blip_generations_free(generations);
  options.unknown[1] = 1;
  FAILS(blip_session_caption(f.session, PICTURES(f), 1, &options.known, &generations, &error),
        BLIP_ERROR_USAGE, "blip_caption_options sets fields that this library");
  options.unknown[1] = 0;
  options.known.reserved = 1;
  FAILS(blip_session_caption(f.session, PICTURES(f), 1, &options.known, &generations, &error),
        BLIP_ERROR_USAGE, "reserved");
  options.known.reserved = 0;
  for (i = 0; i < sizeof wrong_sizes / sizeof *wrong_sizes; ++i) {
    options.known.struct_size = wrong_sizes[i];
    FAILS(blip_session_caption(f.session, PICTURES(f), 1, &options.known, &generations, &error),
          BLIP_ERROR_USAGE, "struct_size");
  }
  tear_down(&f);
}

void test_errors(void) {
  blip_error* error = NULL;
  blip_engine* engine;
  CHECK(blip_engine_load("/nowhere.gguf", NULL, &engine, &error) == BLIP_ERROR_IO);
  CHECK(blip_error_status(error) == BLIP_ERROR_IO);
  CHECK_TEXT(blip_status_name(blip_error_status(error)), "io");
  CHECK(strstr(blip_error_message(error), "/nowhere.gguf") != NULL);
  blip_error_free(error);
  CHECK(blip_error_status(NULL) == BLIP_OK);
  CHECK_TEXT(blip_error_message(NULL), "");
  CHECK_TEXT(blip_status_name(BLIP_OK), "ok");
  CHECK_TEXT(blip_status_name(BLIP_ERROR_INTERNAL), "internal");
}
