/* What the tasks give, of the bundled model and its scenes. */
#include "check.h"

static const float kTolerance = 2e-3f;

void test_captions(void) {
  static const int32_t expected[] = {362, 37, 277, 260, 37, 168, 261, 37, 211, 122, 3};
  fixture f = set_up("clock.png");
  blip_error* error;
  blip_generations* captions;
  blip_generate_options generate;
  blip_caption_options options;
  const blip_text* text;

  OK(blip_session_caption(f.session, PICTURES(f), 1, NULL, &captions, &error));
  CHECK(blip_generations_count(captions) == 1 && blip_generations_texts(captions, 0) == 1);
  text = blip_generations_at(captions, 0, 0);
  CHECK_TEXT(text->text, "a clock on a gray background");
  CHECK(text->struct_size == sizeof *text && text->text_bytes == strlen(text->text));
  CHECK(text->token_count == 11 && memcmp(text->token_ids, expected, sizeof expected) == 0);
  CHECK(fabsf(text->score - -0.00047276f) < 1e-4f);
  CHECK(blip_generations_decode_ms(captions, 0) > 0);
  CHECK(blip_generations_at(captions, 0, 1) == NULL && blip_generations_at(captions, 1, 0) == NULL);
  CHECK(isnan(blip_generations_decode_ms(captions, 1)));
  blip_generations_free(captions);

  /* Several beams, best first; lengths of our own; a prompt, which is cut off. */
  blip_generate_options_default(&generate, sizeof generate);
  blip_caption_options_default(&options, sizeof options);
  CHECK(generate.beams == 3 && generate.min_length == -1 && generate.max_length == -1 &&
        generate.num_return == 1);
  options.generate = &generate;
  generate.num_return = 3;
  OK(blip_session_caption(f.session, PICTURES(f), 1, &options, &captions, &error));
  CHECK(blip_generations_texts(captions, 0) == 3);
  CHECK(blip_generations_at(captions, 0, 0)->score >= blip_generations_at(captions, 0, 1)->score);
  CHECK(blip_generations_at(captions, 0, 1)->score >= blip_generations_at(captions, 0, 2)->score);
  blip_generations_free(captions);

  generate.num_return = 1;
  generate.max_length = 8;
  options.prompt = "a picture of a clock on";
  OK(blip_session_caption(f.session, PICTURES(f), 1, &options, &captions, &error));
  CHECK(blip_generations_at(captions, 0, 0)->token_count == 8);
  CHECK_TEXT(blip_generations_at(captions, 0, 0)->text, "a");
  blip_generations_free(captions);
  tear_down(&f);
}

/* The model of tests/data/nlvr, whose answers are the official code's. */
void test_nlvr(void) {
  static const char* const statements[] = {"a dog", "the left picture is a red bus"};
  static const char* const files[] = {"tests/data/parity/images/0-61x47.png",
                                      "tests/data/parity/images/1-90x133.jpg"};
  static const float expected[] = {0.926161f, 0.231504f};
  fixture f = set_up("clock.png");
  blip_error* error;
  blip_engine* engine;
  blip_session* session;
  blip_image* images[2];
  blip_encoded* encoded[2];
  blip_tensor* probabilities;
  blip_nlvr_options options;
  int i;

  OK(blip_engine_load(source_path("tests/data/nlvr/model.pth"), NULL, &engine, &error));
  CHECK(blip_engine_info(engine)->can_nlvr == 1 && blip_engine_info(f.engine)->can_nlvr == 0);
  CHECK(blip_engine_info(engine)->text_length == 64);
  OK(blip_session_new(engine, NULL, &session, &error));
  for (i = 0; i < 2; ++i) OK(blip_image_from_file(source_path(files[i]), NULL, &images[i], &error));
  OK(blip_session_encode(session, (const blip_image* const*)images, 2, encoded, &error));
  blip_nlvr_options_default(&options, sizeof options);
  CHECK(options.max_text_length == 0);
  OK(blip_session_nlvr(session, encoded[0], encoded[1], statements, 2, &options, &probabilities,
                       &error));
  CHECK(blip_tensor_rank(probabilities) == 1 && blip_tensor_shape(probabilities)[0] == 2);
  for (i = 0; i < 2; ++i) CHECK(fabsf(blip_tensor_data(probabilities)[i] - expected[i]) < 1e-4f);
  blip_tensor_free(probabilities);
  options.max_text_length = 65;
  FAILS(blip_session_nlvr(session, encoded[0], encoded[1], statements, 2, &options, &probabilities,
                          &error),
        BLIP_ERROR_USAGE, "reads texts of 3 to 64 tokens");
  FAILS(blip_session_nlvr(session, encoded[0], NULL, statements, 2, NULL, &probabilities, &error),
        BLIP_ERROR_USAGE, "second is NULL");
  CHECK(probabilities == NULL);
  FAILS(blip_session_nlvr(f.session, f.encoded, f.encoded, statements, 2, NULL, &probabilities,
                          &error),
        BLIP_ERROR_UNSUPPORTED, "cannot judge statements about two pictures");
  for (i = 0; i < 2; ++i) {
    blip_encoded_free(encoded[i]);
    blip_image_free(images[i]);
  }
  blip_session_free(session);
  blip_engine_free(engine);
  tear_down(&f);
}

void test_words(void) {
  static const char* const forbidden[] = {"clock|gray", "background"};
  static const char* const forced[] = {"red|green"};
  static const char* const unspeakable[] = {"\xe2\x98\x83"};
  fixture f = set_up("clock.png");
  blip_error* error;
  blip_generations* captions;
  blip_generate_options generate;
  blip_caption_options options;
  const blip_text* text;
  size_t i;

  blip_generate_options_default(&generate, sizeof generate);
  CHECK(generate.forbid_words == NULL && generate.forbid_word_count == 0 &&
        generate.force_words == NULL && generate.force_word_count == 0 &&
        generate.no_repeat_ngram == 0);
  blip_caption_options_default(&options, sizeof options);
  options.generate = &generate;
  generate.forbid_words = forbidden;
  generate.forbid_word_count = 2;
  generate.force_words = forced;
  generate.force_word_count = 1;
  generate.no_repeat_ngram = 1;
  OK(blip_session_caption(f.session, PICTURES(f), 1, &options, &captions, &error));
  text = blip_generations_at(captions, 0, 0);
  CHECK(strstr(text->text, "clock") == NULL && strstr(text->text, "gray") == NULL &&
        strstr(text->text, "background") == NULL);
  CHECK(strstr(text->text, "red") != NULL || strstr(text->text, "green") != NULL);
  for (i = 1; i < text->token_count; ++i) {
    CHECK(text->token_ids[i] != text->token_ids[i - 1]);
  }
  blip_generations_free(captions);

  generate.beams = 1;
  FAILS(blip_session_caption(f.session, PICTURES(f), 1, &options, &captions, &error),
        BLIP_ERROR_USAGE, "force_words needs beam search");
  generate.beams = 3;
  generate.force_words = unspeakable;
  FAILS(blip_session_caption(f.session, PICTURES(f), 1, &options, &captions, &error),
        BLIP_ERROR_USAGE, "the vocabulary cannot spell it");
  generate.force_words = NULL;
  FAILS(blip_session_caption(f.session, PICTURES(f), 1, &options, &captions, &error),
        BLIP_ERROR_USAGE, "blip_generate_options.force_words is NULL");
  tear_down(&f);
}

void test_batches(void) {
  fixture f = set_up("clock.png");
  blip_error* error;
  blip_image* images[2];
  blip_encoded* encoded[2];
  blip_generations* captions;
  OK(blip_image_from_file(source_path("demo/scenes/balloons.png"), NULL, &images[0], &error));
  OK(blip_image_from_file(source_path("demo/scenes/fox-crown.png"), NULL, &images[1], &error));
  OK(blip_session_encode(f.session, (const blip_image* const*)images, 2, encoded, &error));
  CHECK(blip_encoded_preprocess_ms(encoded[0]) > 0 && blip_encoded_encode_ms(encoded[1]) > 0);
  OK(blip_session_caption(f.session, (const blip_encoded* const*)encoded, 2, NULL, &captions,
                          &error));
  CHECK(blip_generations_count(captions) == 2);
  CHECK_TEXT(blip_generations_at(captions, 0, 0)->text, "two balloons on a purple background");
  CHECK_TEXT(blip_generations_at(captions, 1, 0)->text,
             "a fox above a crown on a purple background");
  blip_generations_free(captions);
  OK(blip_session_encode(f.session, NULL, 0, NULL, &error));
  OK(blip_session_caption(f.session, NULL, 0, NULL, &captions, &error));
  CHECK(blip_generations_count(captions) == 0);
  blip_generations_free(captions);
  blip_encoded_free(encoded[0]);
  blip_encoded_free(encoded[1]);
  blip_image_free(images[0]);
  blip_image_free(images[1]);
  tear_down(&f);
}

void test_answers(void) {
  static const char* const questions[] = {"what is to the right of the cat?",
                                          "what color is the background?", "is there a dog?"};
  static const char* const answers[] = {"a dog", "bus", "cat"};
  fixture f = set_up("cat-bus.png");
  blip_error* error;
  blip_generations* result;
  blip_ask_options options;
  OK(blip_session_ask(f.session, f.encoded, questions, 3, NULL, &result, &error));
  CHECK(blip_generations_count(result) == 3);
  CHECK_TEXT(blip_generations_at(result, 0, 0)->text, "bus");
  CHECK_TEXT(blip_generations_at(result, 1, 0)->text, "pink");
  CHECK_TEXT(blip_generations_at(result, 2, 0)->text, "no");
  blip_generations_free(result);

  OK(blip_session_rank(f.session, f.encoded, questions[0], answers, 3, NULL, &result, &error));
  CHECK(blip_generations_count(result) == 1 && blip_generations_texts(result, 0) == 3);
  CHECK_TEXT(blip_generations_at(result, 0, 0)->text, "bus");
  CHECK(blip_generations_at(result, 0, 0)->score > blip_generations_at(result, 0, 1)->score);
  blip_generations_free(result);

  blip_ask_options_default(&options, sizeof options);
  CHECK(options.rank_candidates == 128);
  options.rank_candidates = 2;
  OK(blip_session_rank(f.session, f.encoded, questions[0], answers, 3, &options, &result, &error));
  CHECK(blip_generations_texts(result, 0) == 2);
  blip_generations_free(result);
  FAILS(blip_session_rank(f.session, f.encoded, questions[0], NULL, 0, NULL, &result, &error),
        BLIP_ERROR_USAGE, "answers");
  CHECK(result == NULL);
  tear_down(&f);
}

void test_matches(void) {
  static const char* const texts[] = {"a cat to the left of a bus", "a cat to the right of a bus"};
  fixture f = set_up("cat-bus.png");
  blip_error* error;
  blip_matches* matches;
  blip_match_options options;
  OK(blip_session_match(f.session, f.encoded, texts, 2, NULL, &matches, &error));
  CHECK(blip_matches_count(matches) == 2);
  CHECK(fabsf(blip_matches_probabilities(matches)[0] - 0.9995f) < kTolerance);
  CHECK(blip_matches_probabilities(matches)[1] < 0.01f);
  CHECK(fabsf(blip_matches_cosines(matches)[0] - 0.6236f) < kTolerance);
  blip_matches_free(matches);

  blip_match_options_default(&options, sizeof options);
  options.head = BLIP_HEAD_ITC;
  OK(blip_session_match(f.session, f.encoded, texts, 2, &options, &matches, &error));
  CHECK(isnan(blip_matches_probabilities(matches)[0]));
  CHECK(isnan(blip_matches_logits(matches)[0]));
  CHECK(fabsf(blip_matches_cosines(matches)[0] - 0.6236f) < kTolerance);
  blip_matches_free(matches);
  options.head = BLIP_HEAD_ITM;
  options.itm_token = BLIP_ITM_TOKEN_ENC;
  OK(blip_session_match(f.session, f.encoded, texts, 2, &options, &matches, &error));
  CHECK(fabsf(blip_matches_probabilities(matches)[0] - 0.9995f) > 1e-6f);
  CHECK(isnan(blip_matches_cosines(matches)[0]));
  CHECK(blip_matches_logits(matches)[0] > blip_matches_logits(matches)[1]);
  blip_matches_free(matches);
  options.itm_token = 2;
  FAILS(blip_session_match(f.session, f.encoded, texts, 2, &options, &matches, &error),
        BLIP_ERROR_USAGE, "blip_match_options.itm_token is 2");
  options.head = BLIP_HEAD_ITC;
  options.itm_token = BLIP_ITM_TOKEN_CLS;
  options.max_text_length = 2;
  FAILS(blip_session_match(f.session, f.encoded, texts, 2, &options, &matches, &error),
        BLIP_ERROR_USAGE, "max_text_length");
  options.max_text_length = 4; /* [CLS] a cat [SEP] */
  OK(blip_session_match(f.session, f.encoded, texts, 2, &options, &matches, &error));
  CHECK(blip_matches_cosines(matches)[0] == blip_matches_cosines(matches)[1]);
  blip_matches_free(matches);
  tear_down(&f);
}

void test_embeddings(void) {
  static const char* const texts[] = {"a cat to the left of a bus", "a dog"};
  fixture f = set_up("cat-bus.png");
  blip_error* error;
  blip_tensor *pictures, *words, *pixels, *vision, *states;
  float cosine = 0, norm = 0;
  int i, dim = blip_engine_info(f.engine)->embed_dim;
  OK(blip_session_embed_images(f.session, PICTURES(f), 1, &pictures, &error));
  OK(blip_session_embed_texts(f.session, texts, 2, NULL, &words, &error));
  CHECK(dim == 128 && blip_tensor_rank(words) == 2);
  CHECK(blip_tensor_shape(pictures)[0] == 1 && blip_tensor_shape(words)[0] == 2 &&
        blip_tensor_shape(words)[1] == dim);
  for (i = 0; i < dim; ++i) {
    cosine += blip_tensor_data(pictures)[i] * blip_tensor_data(words)[i];
    norm += blip_tensor_data(words)[i] * blip_tensor_data(words)[i];
  }
  CHECK(fabsf(cosine - 0.6236f) < kTolerance && fabsf(norm - 1) < 1e-4f);
  blip_tensor_free(words);

  OK(blip_session_features(f.session, BLIP_FEATURES_IMAGE_PROJECTED, f.encoded, NULL, NULL, &vision,
                           &error));
  CHECK(blip_tensor_rank(vision) == 2 && blip_tensor_shape(vision)[0] == 65 &&
        blip_tensor_shape(vision)[1] == dim);
  CHECK(fabsf(blip_tensor_data(vision)[3] - blip_tensor_data(pictures)[3]) < 1e-5f);
  blip_tensor_free(pictures);
  blip_tensor_free(vision);
  OK(blip_session_features(f.session, BLIP_FEATURES_MULTIMODAL, f.encoded, "a dog", NULL, &states,
                           &error));
  CHECK(blip_tensor_shape(states)[0] == 4 && blip_tensor_shape(states)[1] == 192);
  blip_tensor_free(states);
  FAILS(blip_session_features(f.session, BLIP_FEATURES_TEXT, f.encoded, "a dog", NULL, &states,
                              &error),
        BLIP_ERROR_USAGE, "take no picture");
  FAILS(blip_session_features(f.session, 5, f.encoded, NULL, NULL, &states, &error),
        BLIP_ERROR_USAGE, "kind is 5");
  OK(blip_session_dump(f.session, BLIP_STAGE_PIXELS, f.image, NULL, &pixels, &error));
  OK(blip_session_dump(f.session, BLIP_STAGE_VISION, f.image, NULL, &vision, &error));
  OK(blip_session_dump(f.session, BLIP_STAGE_TEXT, f.image, "a dog", &states, &error));
  CHECK(blip_tensor_rank(pixels) == 4 && blip_tensor_shape(pixels)[3] == 128);
  CHECK(blip_tensor_rank(vision) == 3 && blip_tensor_shape(vision)[1] == 65 &&
        blip_tensor_shape(vision)[2] == 192);
  CHECK(blip_tensor_shape(states)[1] == 4); /* [CLS] a dog [SEP] */
  blip_tensor_free(pixels);
  blip_tensor_free(vision);
  blip_tensor_free(states);
  FAILS(blip_session_dump(f.session, BLIP_STAGE_TEXT, f.image, NULL, &states, &error),
        BLIP_ERROR_USAGE, "text");
  tear_down(&f);
}

/* The mean row and column of a map, in parts of its side. */
static float mean_column(const float* map, int side) {
  float mean = 0;
  int i;
  for (i = 0; i < side * side; ++i) mean += map[i] * ((float)(i % side) + 0.5f) / (float)side;
  return mean;
}

void test_attention(void) {
  fixture f = set_up("cat-bus.png");
  blip_error* error;
  blip_generations* captions;
  blip_attention* attention;
  blip_attention_options options;
  const blip_text* text;
  const float* weights;
  float sum = 0;
  size_t w, i, cat = 99, bus = 99;
  int side;
  OK(blip_session_caption(f.session, PICTURES(f), 1, NULL, &captions, &error));
  text = blip_generations_at(captions, 0, 0);
  OK(blip_session_attend_caption(f.session, f.encoded, text->text, text->token_ids,
                                 text->token_count, NULL, &attention, &error));
  side = blip_attention_side(attention);
  CHECK(side == 8 && blip_attention_words(attention, 0) == 12 &&
        blip_attention_words(attention, 1) == 0);
  CHECK(blip_attention_weights(attention, 1) == NULL &&
        blip_attention_word(attention, 0, 12) == NULL);
  for (w = 0; w < blip_attention_words(attention, 0); ++w) {
    if (strcmp(blip_attention_word(attention, 0, w), "cat") == 0) cat = w;
    if (strcmp(blip_attention_word(attention, 0, w), "bus") == 0) bus = w;
  }
  weights = blip_attention_weights(attention, 0);
  CHECK(cat < 12 && bus < 12);
  for (i = 0; i < (size_t)(side * side); ++i) sum += weights[cat * (size_t)(side * side) + i];
  CHECK(fabsf(sum - 1) < 1e-4f);
  CHECK(mean_column(weights + cat * (size_t)(side * side), side) < 0.5f);
  CHECK(mean_column(weights + bus * (size_t)(side * side), side) > 0.5f);
  blip_attention_free(attention);

  /* Without token ids the text is read. */
  OK(blip_session_attend_caption(f.session, f.encoded, "a cat", NULL, 0, NULL, &attention, &error));
  CHECK(blip_attention_words(attention, 0) == 2);
  blip_attention_free(attention);

  OK(blip_session_attend_answer(f.session, f.encoded, "what color is the background?", "pink", NULL,
                                0, NULL, &attention, &error));
  CHECK(blip_attention_words(attention, 0) == 1 && blip_attention_words(attention, 1) == 5);
  CHECK_TEXT(blip_attention_word(attention, 1, 1), "color");
  blip_attention_free(attention);

  blip_attention_options_default(&options, sizeof options);
  options.layers = -1;
  FAILS(blip_session_attend_caption(f.session, f.encoded, "a cat", NULL, 0, &options, &attention,
                                    &error),
        BLIP_ERROR_USAGE, "layers");
  FAILS(
      blip_session_attend_caption(f.session, f.encoded, "a cat", NULL, 3, NULL, &attention, &error),
      BLIP_ERROR_USAGE, "token_ids");
  blip_generations_free(captions);
  tear_down(&f);
}
