// Pictures, engines, devices and files.
#include "capi/handles.h"
#include "image/formats.h"

namespace blip::capi {

InfoRecord::InfoRecord(ModelInfo info) : info_(std::move(info)) {
  for (const PartInfo& part : info_.parts) {
    blip_part_info p{};
    p.struct_size = sizeof p;
    p.layers = part.layers;
    p.width = part.width;
    p.heads = part.heads;
    p.mlp = part.mlp;
    p.parameters = part.parameters;
    p.name = part.name.c_str();
    p.type = part.type.c_str();
    parts_.push_back(p);
  }
  for (const auto& part : parts_) pointers_.push_back(&part);
  record_.struct_size = sizeof record_;
  record_.image_size = info_.image_size;
  record_.patch_size = info_.patch_size;
  record_.vocab_size = info_.vocab_size;
  record_.embed_dim = info_.embed_dim;
  record_.can_caption = info_.can_caption;
  record_.can_match_itm = info_.can_match_itm;
  record_.can_match_itc = info_.can_match_itc;
  record_.can_ask = info_.can_ask;
  record_.can_rank = info_.can_rank;
  record_.can_attend = info_.can_attend;
  record_.baked_length = info_.fixed_length;
  record_.max_length = info_.max_length;
  record_.text_length = info_.text_length;
  record_.max_text_length = info_.max_text_length;
  record_.bos_token = info_.bos_token;
  record_.eos_token = info_.eos_token;
  record_.pad_token = info_.pad_token;
  record_.question_token = info_.question_token;
  record_.parameters = info_.parameters;
  record_.prompt = info_.prompt.c_str();
  record_.path = info_.path.c_str();
  record_.format = info_.format.c_str();
  record_.name = info_.name.c_str();
  record_.part_count = pointers_.size();
  record_.parts = pointers_.data();
  for (const auto& warning : info_.warnings) warnings_.push_back(warning.c_str());
  record_.warning_count = warnings_.size();
  record_.warnings = warnings_.data();
  for (const auto& adapter : info_.adapters) adapters_.push_back(adapter.c_str());
  record_.adapter_count = adapters_.size();
  record_.adapters = adapters_.data();
  record_.can_nlvr = info_.can_nlvr;
}

namespace {

// The name of a format, which the caller does not free.
const char* lasting_name(const std::string& format) {
  const image::Format* known = image::find_format_by_name(format);
  return known ? known->name : "other";
}

}  // namespace
}  // namespace blip::capi

blip_networks::blip_networks(std::vector<blip::ExecutableUse> made) : values(std::move(made)) {
  for (const auto& use : values) {
    blip_network_use r{};
    r.struct_size = sizeof r;
    r.cores = use.cores;
    r.device = use.device.c_str();
    r.name = use.name.c_str();
    r.inputs = use.inputs.c_str();
    r.outputs = use.outputs.c_str();
    r.launches = use.launches;
    r.milliseconds = use.milliseconds;
    records.push_back(r);
  }
}

blip_device_list::blip_device_list(std::vector<blip::DeviceInfo> made) : values(std::move(made)) {
  for (const auto& device : values) {
    blip_device_info r{};
    r.struct_size = sizeof r;
    r.id = device.id.c_str();
    r.description = device.description.c_str();
    records.push_back(r);
  }
}

using namespace blip::capi;

extern "C" {

int32_t blip_abi_version(void) { return BLIP_ABI_VERSION; }
const char* blip_version(void) { return blip::version(); }

blip_status blip_image_from_file(const char* path, const blip_image_options* options,
                                 blip_image** image, blip_error** error) {
  return guarded(error, [&] {
    prepare_output(image);
    const ImageOptions o = image_options(options);
    *image = new blip_image(blip::Image::from_file(required(path, "path"), o.limits, o.background));
  });
}

blip_status blip_image_from_memory(const void* bytes, size_t size,
                                   const blip_image_options* options, blip_image** image,
                                   blip_error** error) {
  return guarded(error, [&] {
    prepare_output(image);
    if (bytes == nullptr && size > 0) throw blip::Error(blip::ErrorCode::kUsage, "bytes is NULL");
    const std::span encoded(static_cast<const std::byte*>(bytes), size);
    const ImageOptions o = image_options(options);
    *image = new blip_image(blip::Image::from_memory(encoded, o.limits, o.background));
  });
}

blip_status blip_image_inspect(const void* bytes, size_t size, const blip_image_options* options,
                               blip_image_info* info, blip_error** error) {
  return guarded(error, [&] {
    if (info == nullptr)
      throw blip::Error(blip::ErrorCode::kUsage, "the place for the result is NULL");
    check_struct_size(info->struct_size, "blip_image_info");
    if (bytes == nullptr && size > 0) throw blip::Error(blip::ErrorCode::kUsage, "bytes is NULL");
    const ImageOptions o = image_options(options);
    const std::span encoded(static_cast<const std::byte*>(bytes), size);
    const auto read = blip::Image::inspect(encoded, o.limits, o.background);
    blip_image_info known{};
    known.struct_size = info->struct_size;
    known.width = read.width;
    known.height = read.height;
    known.decode_bytes = read.decode_bytes;
    known.format = lasting_name(read.format);
    std::memset(static_cast<void*>(info), 0, known.struct_size);
    std::memcpy(static_cast<void*>(info), &known,
                std::min<std::size_t>(known.struct_size, sizeof known));
  });
}

blip_status blip_image_from_rgb(const uint8_t* rgb, int32_t width, int32_t height, size_t stride,
                                blip_image** image, blip_error** error) {
  return guarded(error, [&] {
    prepare_output(image);
    *image = new blip_image(blip::Image::from_rgb(rgb, width, height, stride));
  });
}

blip_status blip_image_resized(const blip_image* image, int32_t width, int32_t height,
                               blip_image** resized, blip_error** error) {
  return guarded(error, [&] {
    prepare_output(resized);
    *resized = new blip_image(checked(image, "image").image.resized(width, height));
  });
}

int32_t blip_image_width(const blip_image* image) {
  return valid(image) ? image->image.width() : 0;
}
int32_t blip_image_height(const blip_image* image) {
  return valid(image) ? image->image.height() : 0;
}
const uint8_t* blip_image_data(const blip_image* image) {
  return valid(image) ? image->image.data() : nullptr;
}
void blip_image_free(blip_image* image) { release(image); }

blip_status blip_inspect(const char* path, blip_inspection** inspection, blip_error** error) {
  return guarded(error, [&] {
    prepare_output(inspection);
    *inspection = new blip_inspection(blip::inspect(required(path, "path")));
  });
}

const blip_model_info* blip_inspection_info(const blip_inspection* inspection) {
  return valid(inspection) ? inspection->info.get() : nullptr;
}
void blip_inspection_free(blip_inspection* inspection) { release(inspection); }

blip_status blip_engine_load(const char* path, const blip_engine_options* options,
                             blip_engine** engine, blip_error** error) {
  return guarded(error, [&] {
    prepare_output(engine);
    const auto in_cpp = engine_options(options);
    // A device's kind may take the files of a model as an option.
    const bool no_path = path == nullptr && !in_cpp.device_options.empty();
    const char* where = no_path ? "" : required(path, "path");
    *engine = new blip_engine(blip::Engine::load(where, in_cpp));
  });
}

const blip_model_info* blip_engine_info(const blip_engine* engine) {
  return valid(engine) ? engine->info.get() : nullptr;
}
int32_t blip_engine_dtype(const blip_engine* engine) {
  return valid(engine) ? static_cast<int32_t>(engine->engine.dtype()) : -1;
}
int32_t blip_engine_threads(const blip_engine* engine) {
  return valid(engine) ? engine->engine.threads() : 0;
}
const char* blip_engine_device(const blip_engine* engine) {
  return valid(engine) ? engine->engine.device().c_str() : nullptr;
}

blip_status blip_engine_prepare(const blip_engine* engine, const blip_image* image,
                                blip_image** prepared, blip_error** error) {
  return guarded(error, [&] {
    prepare_output(prepared);
    const blip::Engine& of = checked(engine, "engine").engine;
    *prepared = new blip_image(of.prepare(checked(image, "image").image));
  });
}

blip_status blip_engine_count_tokens(const blip_engine* engine, const char* text, size_t* count,
                                     blip_error** error) {
  return guarded(error, [&] {
    if (count == nullptr)
      throw blip::Error(blip::ErrorCode::kUsage, "the place for the result is NULL");
    *count = checked(engine, "engine").engine.count_tokens(required(text, "text"));
  });
}

blip_status blip_engine_decode(const blip_engine* engine, const int32_t* token_ids, size_t count,
                               char** text, blip_error** error) {
  return guarded(error, [&] {
    prepare_output(text);
    if (token_ids == nullptr && count > 0)
      throw blip::Error(blip::ErrorCode::kUsage, "token_ids is NULL");
    *text = owned_text(checked(engine, "engine").engine.decode({token_ids, count}));
  });
}

void blip_string_free(char* text) { delete[] text; }

void blip_engine_free(blip_engine* engine) { release(engine); }

blip_status blip_engine_networks(const blip_engine* engine, blip_networks** networks,
                                 blip_error** error) {
  return guarded(error, [&] {
    prepare_output(networks);
    *networks = new blip_networks(checked(engine, "engine").engine.executables());
  });
}

size_t blip_networks_count(const blip_networks* networks) {
  return valid(networks) ? networks->records.size() : 0;
}
const blip_network_use* blip_networks_at(const blip_networks* networks, size_t index) {
  return index < blip_networks_count(networks) ? &networks->records[index] : nullptr;
}
void blip_networks_free(blip_networks* networks) { release(networks); }

blip_status blip_devices(blip_device_list** devices, blip_error** error) {
  return guarded(error, [&] {
    prepare_output(devices);
    *devices = new blip_device_list(blip::devices());
  });
}

size_t blip_device_list_count(const blip_device_list* devices) {
  return valid(devices) ? devices->records.size() : 0;
}
const blip_device_info* blip_device_list_at(const blip_device_list* devices, size_t index) {
  return index < blip_device_list_count(devices) ? &devices->records[index] : nullptr;
}
void blip_device_list_free(blip_device_list* devices) { release(devices); }

blip_status blip_convert(const char* source, const char* destination,
                         const blip_convert_options* options, blip_error** error) {
  return guarded(error, [&] {
    blip::convert(required(source, "source"), required(destination, "destination"),
                  convert_options(options));
  });
}

}  // extern "C"
