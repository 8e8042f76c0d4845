/* Models by name, without a network: a cache on disk, and what is said of names that are not there.
 */
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

#define COMMIT "0123456789abcdef0123456789abcdef01234567"

/* The bundled model as the snapshot of org/tiny in a cache of our own. */
static const char* make_cache(void) {
  static char cache[] = "/tmp/blip-capi-hub-XXXXXX";
  char path[512];
  FILE* ref;
  if (mkdtemp(cache) == NULL) exit(2);
  snprintf(path, sizeof path,
           "mkdir -p %s/models--org--tiny/refs %s/models--org--tiny/snapshots/%s", cache, cache,
           COMMIT);
  if (system(path) != 0) exit(2);
  snprintf(path, sizeof path, "%s/models--org--tiny/snapshots/%s/model.gguf", cache, COMMIT);
  if (symlink(source_path("models/blip-demo.gguf"), path) != 0) exit(2);
  snprintf(path, sizeof path, "%s/models--org--tiny/refs/main", cache);
  ref = fopen(path, "w");
  fputs(COMMIT, ref);
  fclose(ref);
  return cache;
}

static void remember(const char* message, void* user_data) {
  snprintf(user_data, 512, "%s", message);
}

static int32_t stop(void* user_data) {
  ++*(int*)user_data;
  return 1;
}

void test_hub(void) {
  const char* cache = make_cache();
  char snapshot[512], warned[512] = "";
  blip_error* error;
  blip_hub_options options;
  blip_model_list* models;
  blip_inspection* inspection;
  char* path;
  uint64_t bytes = 7;
  int asked = 0;
  blip_hub_options_default(&options, sizeof options);
  CHECK(options.struct_size == sizeof options && options.retry_ms == 1000 && options.offline == 0);
  options.cache = cache;
  options.offline = 1;
  options.warning = remember;
  options.user_data = warned;
  snprintf(snapshot, sizeof snapshot, "%s/models--org--tiny/snapshots/%s", cache, COMMIT);

  CHECK(blip_is_model_name("org/tiny@main") == 1 && blip_is_model_name("caption-base") == 1);
  CHECK(blip_is_model_name("/org/tiny") == 0 && blip_is_model_name(NULL) == 0);
  OK(blip_find_model("org/tiny", &options, &path, &error));
  CHECK_TEXT(path, snapshot);
  blip_string_free(path);
  OK(blip_pull("org/tiny@" COMMIT, &options, &path, &error));
  CHECK_TEXT(path, snapshot);
  OK(blip_inspect(path, &inspection, &error));
  CHECK_TEXT(blip_inspection_info(inspection)->name, "blip-demo");
  blip_inspection_free(inspection);
  blip_string_free(path);
  OK(blip_find_model("/demo/none.gguf", &options, &path, &error));
  CHECK_TEXT(path, "/demo/none.gguf");
  blip_string_free(path);

  OK(blip_cached_models(&options, &models, &error));
  CHECK(blip_model_list_count(models) == 1 && blip_model_list_at(models, 1) == NULL);
  CHECK_TEXT(blip_model_list_at(models, 0)->name, "org/tiny");
  CHECK_TEXT(blip_model_list_at(models, 0)->commit, COMMIT);
  CHECK_TEXT(blip_model_list_at(models, 0)->revision, "main");
  CHECK_TEXT(blip_model_list_at(models, 0)->path, snapshot);
  CHECK(blip_model_list_at(models, 0)->bytes > 1000000);
  blip_model_list_free(models);

  FAILS(blip_find_model("captoin-base", &options, &path, &error), BLIP_ERROR_IO,
        "did you mean caption-base?");
  CHECK(path == NULL);
  FAILS(blip_find_model("org/tinny", &options, &path, &error), BLIP_ERROR_IO,
        "did you mean org/tiny?");
  FAILS(blip_pull("org/none", &options, &path, &error), BLIP_ERROR_IO, cache);
  FAILS(blip_pull("no name", &options, &path, &error), BLIP_ERROR_USAGE, "\"no name\"");
  FAILS(blip_pull("sophon-demo/bm1688", &options, &path, &error), BLIP_ERROR_UNSUPPORTED,
        "blip_${part}_bm1688_f32_1b.bmodel");
  FAILS(blip_remove_cached("org/none", &options, &bytes, &error), BLIP_ERROR_IO, "org/none");
  CHECK(bytes == 0);
  OK(blip_remove_cached("org/tiny", &options, &bytes, &error));
  CHECK(bytes == 40); /* the ref: the weights are only linked */
  FAILS(blip_find_model("org/tiny", &options, &path, &error), BLIP_ERROR_IO, "blip pull org/tiny");
  CHECK(access(source_path("models/blip-demo.gguf"), R_OK) == 0);

  /* A server that is not there: the callback ends the waiting for it. */
  options.offline = 0;
  options.endpoint = "http://127.0.0.1:9";
  options.cancel = stop;
  options.user_data = &asked;
  options.warning = NULL;
  unsetenv("HF_HUB_OFFLINE");
  unsetenv("TRANSFORMERS_OFFLINE");
  FAILS(blip_pull("org/none", &options, &path, &error), BLIP_ERROR_CANCELLED, "cancelled");
  CHECK(asked > 0);
  options.retry_ms = -1;
  FAILS(blip_pull("org/none", &options, &path, &error), BLIP_ERROR_USAGE, "retry_ms");
}

void test_known_models(void) {
  static const char* const files[] = {"README.md", "config.json", "model.safetensors",
                                      "pytorch_model.bin", "vocab.txt"};
  const blip_known_model* known = blip_known_model_at(0);
  uint8_t wanted[5] = {9, 9, 9, 9, 9};
  blip_error* error;
  CHECK(blip_known_model_count() >= 15 && blip_known_model_at(blip_known_model_count()) == NULL);
  CHECK_TEXT(known->short_name, "caption-base");
  CHECK_TEXT(known->source, "Salesforce/blip-image-captioning-base");
  CHECK_TEXT(known->task, "caption");
  CHECK_TEXT(known->licence, "BSD-3-Clause");
  CHECK(known->struct_size == sizeof *known && known->bytes > 100000000);
  OK(blip_wanted_files(files, 5, wanted, &error));
  CHECK(!wanted[0] && wanted[1] == 1 && wanted[2] == 1 && !wanted[3] && wanted[4] == 1);
  OK(blip_wanted_files(NULL, 0, NULL, &error));
  FAILS(blip_wanted_files(files, 5, NULL, &error), BLIP_ERROR_USAGE, "NULL");
  FAILS(blip_wanted_files(NULL, 5, wanted, &error), BLIP_ERROR_USAGE, "names");
}
