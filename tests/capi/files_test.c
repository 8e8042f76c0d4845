/* Pictures, models and files. */
#include <stdint.h>
#include <unistd.h>

#include "check.h"

static unsigned char* read_whole(const char* path, size_t* size) {
  FILE* file = fopen(path, "rb");
  unsigned char* bytes;
  fseek(file, 0, SEEK_END);
  *size = (size_t)ftell(file);
  rewind(file);
  bytes = malloc(*size);
  if (fread(bytes, 1, *size, file) != *size) exit(2);
  fclose(file);
  return bytes;
}

void test_images(void) {
  fixture f = set_up("clock.png");
  blip_error* error;
  blip_image *image, *other;
  blip_image_options options;
  blip_image_info info;
  size_t size;
  int width, height;
  unsigned char* bytes = read_whole(source_path("demo/scenes/clock.png"), &size);
  OK(blip_image_from_memory(bytes, size, NULL, &image, &error));
  width = blip_image_width(image);
  height = blip_image_height(image);
  CHECK(width == blip_image_width(f.image) && height == blip_image_height(f.image) && width > 1);
  CHECK(memcmp(blip_image_data(image), blip_image_data(f.image), (size_t)(width * height * 3)) ==
        0);
  OK(blip_image_from_rgb(blip_image_data(image), width, height / 2, (size_t)width * 6, &other,
                         &error));
  CHECK(blip_image_height(other) == height / 2);
  CHECK(memcmp(blip_image_data(other) + 3 * width, blip_image_data(image) + 6 * width,
               (size_t)(3 * width)) == 0);
  blip_image_free(other);
  OK(blip_engine_prepare(f.engine, image, &other, &error));
  CHECK(blip_image_width(other) == 128 && blip_image_height(other) == 128);
  blip_image_free(other);
  OK(blip_image_resized(image, 7, 5, &other, &error));
  CHECK(blip_image_width(other) == 7 && blip_image_height(other) == 5);
  blip_image_free(other);
  blip_image_free(image);

  FAILS(blip_image_from_memory(bytes, size / 2, NULL, &image, &error), BLIP_ERROR_IMAGE, "picture");
  CHECK(image == NULL);
  FAILS(blip_image_from_memory(bytes, 0, NULL, &image, &error), BLIP_ERROR_IMAGE, "");
  FAILS(blip_image_from_file("/nowhere/x.png", NULL, &image, &error), BLIP_ERROR_IO,
        "/nowhere/x.png");
  FAILS(blip_image_resized(f.image, 0, 5, &image, &error), BLIP_ERROR_USAGE, "0 x 5");
  FAILS(blip_image_from_rgb(bytes, 4, 4, 5, &image, &error), BLIP_ERROR_USAGE, "stride");
  info.struct_size = sizeof info;
  OK(blip_image_inspect(bytes, size, NULL, &info, &error));
  CHECK(info.width == width && info.height == height &&
        info.decode_bytes >= (uint64_t)(width * height * 3));
  CHECK_TEXT(info.format, "PNG");
  info.struct_size = 16; /* of an older header: what is behind it stays as it is */
  info.format = "untouched";
  OK(blip_image_inspect(bytes, size, NULL, &info, &error));
  CHECK(info.width == width && info.struct_size == 16);
  CHECK_TEXT(info.format, "untouched");
  FAILS(blip_image_inspect(bytes, 3, NULL, &info, &error), BLIP_ERROR_IMAGE, "");
  info.struct_size = 1;
  FAILS(blip_image_inspect(bytes, size, NULL, &info, &error), BLIP_ERROR_USAGE, "struct_size");
  FAILS(blip_image_inspect(bytes, size, NULL, NULL, &error), BLIP_ERROR_USAGE,
        "place for the result");
  blip_image_options_default(&options, sizeof options);
  CHECK(options.max_memory == 1u << 30);
  options.max_memory = 1000;
  FAILS(blip_image_from_memory(bytes, size, &options, &image, &error), BLIP_ERROR_IMAGE, "memory");
  blip_image_options_default(&options, sizeof options);
  CHECK(options.max_bytes == 256u << 20 && options.max_pixels == 178956970);
  options.max_pixels = 100;
  FAILS(blip_image_from_memory(bytes, size, &options, &image, &error), BLIP_ERROR_IMAGE, "100");
  options.max_bytes = 10;
  FAILS(blip_image_from_file(source_path("demo/scenes/clock.png"), &options, &image, &error),
        BLIP_ERROR_IO, "10");
  blip_image_options_default(&options, sizeof options);
  CHECK(options.background == NULL);
  options.background = "puce";
  FAILS(blip_image_from_file(source_path("demo/scenes/clock.png"), &options, &image, &error),
        BLIP_ERROR_USAGE, "puce");
  free(bytes);
  tear_down(&f);
}

static void check_info(const blip_model_info* info) {
  size_t i;
  uint64_t parameters = 0;
  CHECK(info->struct_size == sizeof *info);
  CHECK_TEXT(info->name, "blip-demo");
  CHECK_TEXT(info->format, "gguf");
  CHECK(strstr(info->path, "blip-demo.gguf") != NULL);
  CHECK(info->image_size == 128 && info->patch_size == 16 && info->vocab_size == 364 &&
        info->embed_dim == 128);
  CHECK(info->can_caption && info->can_match_itm && info->can_match_itc && info->can_ask &&
        info->can_rank && info->can_attend);
  CHECK_TEXT(info->prompt, "a picture of ");
  CHECK(info->text_length == 35 && info->max_text_length >= 35 && info->max_length >= 20 &&
        info->warning_count == 0);
  CHECK(info->bos_token == 362 && info->eos_token == 3 && info->pad_token == 0 &&
        info->question_token == 363);
  CHECK(info->part_count == 5);
  for (i = 0; i < info->part_count; ++i) parameters += info->parts[i]->parameters;
  CHECK(parameters <= info->parameters && info->parameters > 10000000);
  CHECK_TEXT(info->parts[0]->name, "vision");
  CHECK(info->parts[0]->layers == 6 && info->parts[0]->width == 192 && info->parts[0]->heads == 3 &&
        info->parts[0]->mlp == 768);
  CHECK_TEXT(info->parts[4]->type, "q8_0");
}

void test_information(void) {
  fixture f = set_up("clock.png");
  blip_error* error;
  blip_inspection* inspection;
  blip_device_list* devices;
  blip_networks* networks;
  static const int32_t ids[] = {362, 37, 277, 260, 37, 168, 999999};
  size_t count;
  char* text;
  check_info(blip_engine_info(f.engine));
  CHECK(blip_engine_threads(f.engine) >= 1);
  CHECK_TEXT(blip_dtype_name(blip_engine_dtype(f.engine)), "f32");
  CHECK_TEXT(blip_engine_device(f.engine), "cpu");
  OK(blip_inspect(source_path("models/blip-demo.gguf"), &inspection, &error));
  check_info(blip_inspection_info(inspection));
  blip_inspection_free(inspection);
  FAILS(blip_inspect("/nowhere/model.gguf", &inspection, &error), BLIP_ERROR_IO,
        "/nowhere/model.gguf");

  OK(blip_devices(&devices, &error));
  CHECK(blip_device_list_count(devices) >= 1);
  CHECK_TEXT(blip_device_list_at(devices, 0)->id, "cpu");
  CHECK(strstr(blip_device_list_at(devices, 0)->description, "thread") != NULL);
  CHECK(blip_device_list_at(devices, 99) == NULL);
  blip_device_list_free(devices);
  OK(blip_engine_networks(f.engine, &networks, &error));
  CHECK(blip_networks_count(networks) == 0 && blip_networks_at(networks, 0) == NULL);
  blip_networks_free(networks);
  OK(blip_engine_count_tokens(f.engine, "a picture of", &count, &error));
  CHECK(count == 3);
  OK(blip_engine_decode(f.engine, ids, 7, &text, &error));
  CHECK_TEXT(text, "a picture of a clock");
  blip_string_free(text);
  OK(blip_engine_decode(f.engine, NULL, 0, &text, &error));
  CHECK_TEXT(text, "");
  blip_string_free(text);
  FAILS(blip_engine_decode(f.engine, NULL, 1, &text, &error), BLIP_ERROR_USAGE,
        "token_ids is NULL");
  CHECK(blip_encoded_bytes(f.encoded) >= 65 * 192 * sizeof(float) && blip_encoded_bytes(NULL) == 0);
  CHECK(blip_abi_version() == BLIP_ABI_VERSION);
  CHECK_TEXT(blip_version(), BLIP_EXPECTED_VERSION);
  tear_down(&f);
}

static int32_t count_progress(const char* stage, size_t done, size_t total, void* user_data) {
  CHECK_TEXT(stage, "convert");
  CHECK(done <= total);
  ++*(int*)user_data;
  return 0;
}

static int32_t stop_early(const char* stage, size_t done, size_t total, void* user_data) {
  (void)stage;
  (void)total;
  (void)user_data;
  return done >= 3;
}

void test_conversion(void) {
  char destination[] = "/tmp/blip-capi-XXXXXX";
  char file[64];
  char source[1024];
  int calls = 0;
  blip_error* error;
  blip_inspection* inspection;
  blip_convert_options options;
  if (mkdtemp(destination) == NULL) exit(2);
  snprintf(file, sizeof file, "%s/model.gguf", destination);
  snprintf(source, sizeof source, "%s", source_path("models/blip-demo.gguf"));
  blip_convert_options_default(&options, sizeof options);
  CHECK(options.type == BLIP_FILE_F16);
  options.progress = stop_early;
  FAILS(blip_convert(source, file, &options, &error), BLIP_ERROR_CANCELLED, "cancelled");
  CHECK(rmdir(destination) == 0); /* nothing half-written is left */
  if (mkdtemp(strcpy(destination, "/tmp/blip-capi-XXXXXX")) == NULL) exit(2);
  snprintf(file, sizeof file, "%s/model.gguf", destination);
  options.progress = count_progress;
  options.user_data = &calls;
  OK(blip_convert(source, file, &options, &error));
  CHECK(calls > 100);
  OK(blip_inspect(file, &inspection, &error));
  CHECK_TEXT(blip_inspection_info(inspection)->parts[0]->type, "f16");
  blip_inspection_free(inspection);
  options.type = 7;
  FAILS(blip_convert(source, file, &options, &error), BLIP_ERROR_USAGE,
        "blip_convert_options.type is 7");
  unlink(file);
  rmdir(destination);
}

void test_adapters(void) {
  char base[1024];
  char adapter[1024];
  const char* adapters[2];
  blip_error* error;
  blip_engine* engine;
  blip_engine_options options;
  const blip_model_info* info;
  snprintf(base, sizeof base, "%s", source_path("tests/data/parity/caption"));
  snprintf(adapter, sizeof adapter, "%s", source_path("tests/data/parity/adapter-attention"));
  adapters[0] = adapter;
  adapters[1] = NULL;
  blip_engine_options_default(&options, sizeof options);
  CHECK(options.adapters == NULL && options.adapter_count == 0);
  options.adapters = adapters;
  options.adapter_count = 1;
  OK(blip_engine_load(base, &options, &engine, &error));
  info = blip_engine_info(engine);
  CHECK(info->adapter_count == 1);
  CHECK_TEXT(info->adapters[0], "adapter-attention");
  blip_engine_free(engine);
  options.adapter_count = 2;
  FAILS(blip_engine_load(base, &options, &engine, &error), BLIP_ERROR_USAGE,
        "blip_engine_options.adapters[1] is NULL");
  adapters[1] = base;
  FAILS(blip_engine_load(base, &options, &engine, &error), BLIP_ERROR_IO, "holds no adapter");
  options.adapter_count = 0;
  OK(blip_engine_load(base, &options, &engine, &error));
  CHECK(blip_engine_info(engine)->adapter_count == 0);
  blip_engine_free(engine);
}
