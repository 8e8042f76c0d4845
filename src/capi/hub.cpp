// Models by name.
#include "capi/handles.h"

using namespace blip::capi;

namespace {

std::vector<blip_known_model> known_records() {
  std::vector<blip_known_model> records;
  for (const blip::KnownModel& model : blip::known_models()) {
    blip_known_model r{};
    r.struct_size = sizeof r;
    r.bytes = model.bytes;
    r.short_name = model.short_name.c_str();
    r.source = model.source.c_str();
    r.task = model.task.c_str();
    r.licence = model.licence.c_str();
    records.push_back(r);
  }
  return records;
}

}  // namespace

blip_model_list::blip_model_list(std::vector<blip::CachedModel> made) : values(std::move(made)) {
  for (const auto& model : values) {
    blip_cached_model r{};
    r.struct_size = sizeof r;
    r.bytes = model.bytes;
    r.name = model.name.c_str();
    r.commit = model.commit.c_str();
    r.revision = model.revision.c_str();
    r.path = model.path.c_str();
    records.push_back(r);
  }
}

extern "C" {

int32_t blip_is_model_name(const char* text) {
  int32_t is_name = 0;
  guarded(nullptr, [&] { is_name = text != nullptr && blip::is_model_name(text) ? 1 : 0; });
  return is_name;
}

blip_status blip_find_model(const char* name, const blip_hub_options* options, char** path,
                            blip_error** error) {
  return guarded(error, [&] {
    prepare_output(path);
    *path = owned_text(blip::require_model(required(name, "name"), hub_options(options)));
  });
}

blip_status blip_adapter_base(const char* path, char** base, blip_error** error) {
  return guarded(error, [&] {
    prepare_output(base);
    *base = owned_text(blip::adapter_base(required(path, "path")));
  });
}

blip_status blip_pull(const char* name, const blip_hub_options* options, char** path,
                      blip_error** error) {
  return guarded(error, [&] {
    prepare_output(path);
    *path = owned_text(blip::pull(required(name, "name"), hub_options(options)));
  });
}

blip_status blip_wanted_files(const char* const* names, size_t count, uint8_t* wanted,
                              blip_error** error) {
  return guarded(error, [&] {
    if (wanted == nullptr && count > 0)
      throw blip::Error(blip::ErrorCode::kUsage, "the place for the result is NULL");
    const std::vector<bool> marks = blip::wanted_files(strings(names, count, "names"));
    for (size_t i = 0; i < count; ++i) wanted[i] = marks[i] ? 1 : 0;
  });
}

blip_status blip_remove_cached(const char* name, const blip_hub_options* options, uint64_t* bytes,
                               blip_error** error) {
  return guarded(error, [&] {
    if (bytes != nullptr) *bytes = 0;
    const auto freed = blip::remove_cached(required(name, "name"), hub_options(options));
    if (bytes != nullptr) *bytes = freed;
  });
}

blip_status blip_cached_models(const blip_hub_options* options, blip_model_list** models,
                               blip_error** error) {
  return guarded(error, [&] {
    prepare_output(models);
    *models = new blip_model_list(blip::cached_models(hub_options(options)));
  });
}

size_t blip_model_list_count(const blip_model_list* models) {
  return valid(models) ? models->records.size() : 0;
}
const blip_cached_model* blip_model_list_at(const blip_model_list* models, size_t index) {
  return index < blip_model_list_count(models) ? &models->records[index] : nullptr;
}
void blip_model_list_free(blip_model_list* models) { release(models); }

size_t blip_known_model_count(void) { return blip::known_models().size(); }
const blip_known_model* blip_known_model_at(size_t index) {
  static const std::vector<blip_known_model> records = known_records();
  return index < records.size() ? &records[index] : nullptr;
}

}  // extern "C"
