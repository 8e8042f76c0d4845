// Options: their defaults, which are those of C++, and their way into C++.
#include <type_traits>

#include "blip/limits.h"
#include "capi/handles.h"

namespace blip::capi {
namespace {

constexpr std::int32_t kTaskDefault = -1;  // of lengths: the caption's or the answer's

// Values of an enumeration of C, in the order of that of C++.
template <class Enum>
Enum enum_of(std::int32_t value, std::int32_t last, const std::string& name) {
  if (value < 0 || value > last) {
    throw Error(ErrorCode::kUsage,
                name + " is " + std::to_string(value) + "; known are 0 to " + std::to_string(last));
  }
  return static_cast<Enum>(value);
}

static_assert(static_cast<int>(DType::kF16) == BLIP_DTYPE_F16 &&
              static_cast<int>(DType::kInt8) == BLIP_DTYPE_INT8 &&
              static_cast<int>(DType::kBf16) == BLIP_DTYPE_BF16 &&
              static_cast<int>(DType::kF32) == BLIP_DTYPE_F32);
static_assert(static_cast<int>(MatchHead::kItm) == BLIP_HEAD_ITM &&
              static_cast<int>(MatchHead::kItc) == BLIP_HEAD_ITC);
static_assert(static_cast<int>(ItmToken::kCls) == BLIP_ITM_TOKEN_CLS &&
              static_cast<int>(ItmToken::kEnc) == BLIP_ITM_TOKEN_ENC);
static_assert(static_cast<int>(FeatureKind::kMultimodal) == BLIP_FEATURES_MULTIMODAL &&
              static_cast<int>(FeatureKind::kTextProjected) == BLIP_FEATURES_TEXT_PROJECTED &&
              static_cast<int>(FeatureKind::kText) == BLIP_FEATURES_TEXT &&
              static_cast<int>(FeatureKind::kImageProjected) == BLIP_FEATURES_IMAGE_PROJECTED);
static_assert(static_cast<int>(FileType::kF16) == BLIP_FILE_F16 &&
              static_cast<int>(FileType::kBf16) == BLIP_FILE_BF16 &&
              static_cast<int>(FileType::kQ8_0) == BLIP_FILE_Q8_0);

// Calls f with each option's field in C++ and in C; lists have two there.
template <class F>
constexpr void for_generate_fields(F f) {
  using Cpp = GenerateOptions;
  using C = blip_generate_options;
  f(&Cpp::beams, &C::beams);
  f(&Cpp::min_length, &C::min_length);
  f(&Cpp::max_length, &C::max_length);
  f(&Cpp::length_penalty, &C::length_penalty);
  f(&Cpp::repetition_penalty, &C::repetition_penalty);
  f(&Cpp::sample, &C::sample);
  f(&Cpp::top_p, &C::top_p);
  f(&Cpp::top_k, &C::top_k);
  f(&Cpp::min_p, &C::min_p);
  f(&Cpp::temperature, &C::temperature);
  f(&Cpp::seed, &C::seed);
  f(&Cpp::num_return, &C::num_return);
  f(&Cpp::forbid_words, &C::forbid_words, &C::forbid_word_count);
  f(&Cpp::force_words, &C::force_words, &C::force_word_count);
  f(&Cpp::no_repeat_ngram, &C::no_repeat_ngram);
}

// None is forgotten of those that the table has.
consteval bool all_options_are_fields() {
  int fields = 0, options = 0;
  for_generate_fields([&](auto, auto, auto...) { ++fields; });
  for (const Option& option : kOptions) options += option.generates() ? 1 : 0;
  return fields == options;
}
static_assert(all_options_are_fields());

// Is the field one that may be kTaskDefault?
template <class T>
constexpr bool is_length(T blip_generate_options::*) {
  return false;
}
constexpr bool is_length(std::int32_t blip_generate_options::*field) {
  return field == &blip_generate_options::min_length || field == &blip_generate_options::max_length;
}

// All fields zero but the size.
template <class Options>
Options sized() {
  Options options{};
  options.struct_size = sizeof options;
  return options;
}

}  // namespace

template <>
blip_image_options defaults<blip_image_options>() {
  const ImageLimits limits;
  return {.struct_size = sizeof(blip_image_options),
          .reserved = 0,
          .max_bytes = limits.max_bytes,
          .max_pixels = limits.max_pixels,
          .max_memory = limits.max_memory,
          .background = nullptr};
}

template <>
blip_engine_options defaults<blip_engine_options>() {
  return sized<blip_engine_options>();
}

template <>
blip_session_options defaults<blip_session_options>() {
  return sized<blip_session_options>();
}

template <>
blip_generate_options defaults<blip_generate_options>() {
  const GenerateOptions known;
  auto options = sized<blip_generate_options>();
  for_generate_fields([&](auto cpp, auto c, auto...) {
    if constexpr (std::is_arithmetic_v<std::remove_cvref_t<decltype(known.*cpp)>>)
      options.*c = known.*cpp;
    if constexpr (std::is_arithmetic_v<std::remove_cvref_t<decltype(options.*c)>>)
      if (is_length(c))
        options.*c = static_cast<std::remove_cvref_t<decltype(options.*c)>>(kTaskDefault);
  });
  return options;
}

template <>
blip_caption_options defaults<blip_caption_options>() {
  return sized<blip_caption_options>();
}

template <>
blip_ask_options defaults<blip_ask_options>() {
  auto options = sized<blip_ask_options>();
  options.rank_candidates = AskOptions().rank_candidates;
  return options;
}

template <>
blip_match_options defaults<blip_match_options>() {
  return sized<blip_match_options>();
}

template <>
blip_nlvr_options defaults<blip_nlvr_options>() {
  return sized<blip_nlvr_options>();
}

template <>
blip_embed_options defaults<blip_embed_options>() {
  return sized<blip_embed_options>();
}

template <>
blip_attention_options defaults<blip_attention_options>() {
  return sized<blip_attention_options>();
}

template <>
blip_convert_options defaults<blip_convert_options>() {
  auto options = sized<blip_convert_options>();
  options.type = static_cast<std::int32_t>(ConvertOptions().type);
  return options;
}

template <>
blip_hub_options defaults<blip_hub_options>() {
  auto options = sized<blip_hub_options>();
  options.retry_ms = HubOptions().retry_ms;
  return options;
}

void throw_cancelled() { throw Error(ErrorCode::kCancelled, "cancelled"); }

namespace {

WarningCallback warning_of(blip_warning_callback warning, void* user_data) {
  if (warning == nullptr) return {};
  return [=](const std::string& message) { warning(message.c_str(), user_data); };
}

}  // namespace

ProgressCallback progress_of(blip_progress_callback progress, void* user_data) {
  if (progress == nullptr) return {};
  return [=](const char* stage, std::size_t done, std::size_t total) {
    if (progress(stage, done, total, user_data) != 0) throw_cancelled();
  };
}

EngineOptions engine_options(const blip_engine_options* given) {
  const auto o = read_options(given, "blip_engine_options");
  EngineOptions options;
  if (o.device != nullptr) options.device = o.device;
  options.dtype = enum_of<DType>(o.dtype, BLIP_DTYPE_F16, "blip_engine_options.dtype");
  options.threads = o.threads;
  // The options of one kind of device, which C names one by one.
  for (const auto& file : strings(o.bmodels, o.bmodel_count, "blip_engine_options.bmodels"))
    options.device_options.push_back({"file", file});
  if (o.tokenizer != nullptr && *o.tokenizer != '\0')
    options.device_options.push_back({"tokenizer", o.tokenizer});
  options.adapters = strings(o.adapters, o.adapter_count, "blip_engine_options.adapters");
  options.progress = progress_of(o.progress, o.user_data);
  return options;
}

ImageOptions image_options(const blip_image_options* given) {
  const auto o = read_options(given, "blip_image_options");
  ImageOptions options;
  options.limits.max_bytes = o.max_bytes;
  options.limits.max_pixels = o.max_pixels;
  options.limits.max_memory = o.max_memory;
  if (o.background != nullptr) options.background = parse_color(o.background);
  return options;
}

ConvertOptions convert_options(const blip_convert_options* given) {
  const auto o = read_options(given, "blip_convert_options");
  ConvertOptions options;
  options.type = enum_of<FileType>(o.type, BLIP_FILE_Q8_0, "blip_convert_options.type");
  options.adapters = strings(o.adapters, o.adapter_count, "blip_convert_options.adapters");
  options.progress = progress_of(o.progress, o.user_data);
  options.warning = warning_of(o.warning, o.user_data);
  return options;
}

HubOptions hub_options(const blip_hub_options* given) {
  const auto o = read_options(given, "blip_hub_options");
  HubOptions options;
  options.offline = o.offline != 0;
  options.update = o.update != 0;
  if (o.retry_ms < 0) {
    throw Error(ErrorCode::kUsage, "blip_hub_options.retry_ms is " + std::to_string(o.retry_ms) +
                                       "; it must not be negative");
  }
  options.retry_ms = o.retry_ms;
  if (o.cache != nullptr) options.cache = o.cache;
  if (o.endpoint != nullptr) options.endpoint = o.endpoint;
  if (o.token != nullptr) options.token = o.token;
  if (o.progress != nullptr) {
    options.progress = [progress = o.progress, data = o.user_data](
                           const std::string& file, std::uint64_t done, std::uint64_t total) {
      if (progress(file.c_str(), done, total, data) != 0) throw_cancelled();
    };
  }
  if (o.cancel != nullptr)
    options.cancel = [cancel = o.cancel, data = o.user_data] { return cancel(data) != 0; };
  options.warning = warning_of(o.warning, o.user_data);
  return options;
}

EmbedOptions embed_options(const blip_embed_options* given) {
  EmbedOptions options;
  options.max_text_length = read_options(given, "blip_embed_options").max_text_length;
  return options;
}

NlvrOptions nlvr_options(const blip_nlvr_options* given) {
  NlvrOptions options;
  options.max_text_length = read_options(given, "blip_nlvr_options").max_text_length;
  return options;
}

MatchOptions match_options(const blip_match_options* given) {
  const auto o = read_options(given, "blip_match_options");
  MatchOptions options;
  options.head = enum_of<MatchHead>(o.head, BLIP_HEAD_ITC, "blip_match_options.head");
  options.itm_token =
      enum_of<ItmToken>(o.itm_token, BLIP_ITM_TOKEN_ENC, "blip_match_options.itm_token");
  options.max_text_length = o.max_text_length;
  return options;
}

AttentionOptions attention_options(const blip_attention_options* given) {
  const auto o = read_options(given, "blip_attention_options");
  AttentionOptions options;
  if (o.prompt != nullptr) options.prompt = o.prompt;
  options.layers = o.layers;
  options.max_text_length = o.max_text_length;
  return options;
}

void apply(const blip_generate_options* given, GenerateOptions& options) {
  const auto o = read_options(given, "blip_generate_options");
  for_generate_fields([&](auto cpp, auto c, auto... count) {
    if constexpr (sizeof...(count) > 0) {
      const bool forced = cpp == &GenerateOptions::force_words;
      options.*cpp = strings(
          o.*c, (..., (o.*count)),
          forced ? "blip_generate_options.force_words" : "blip_generate_options.forbid_words");
    } else {
      if (is_length(c) && static_cast<std::int64_t>(o.*c) == kTaskDefault) return;
      if constexpr (std::is_same_v<decltype(cpp), bool GenerateOptions::*>) {
        options.*cpp = o.*c != 0;
      } else {
        options.*cpp = o.*c;
      }
    }
  });
}

}  // namespace blip::capi

using namespace blip::capi;

extern "C" {

void blip_image_options_default(blip_image_options* options, uint32_t struct_size) {
  fill_defaults(options, struct_size);
}
void blip_engine_options_default(blip_engine_options* options, uint32_t struct_size) {
  fill_defaults(options, struct_size);
}
void blip_session_options_default(blip_session_options* options, uint32_t struct_size) {
  fill_defaults(options, struct_size);
}
void blip_generate_options_default(blip_generate_options* options, uint32_t struct_size) {
  fill_defaults(options, struct_size);
}
void blip_caption_options_default(blip_caption_options* options, uint32_t struct_size) {
  fill_defaults(options, struct_size);
}
void blip_ask_options_default(blip_ask_options* options, uint32_t struct_size) {
  fill_defaults(options, struct_size);
}
void blip_match_options_default(blip_match_options* options, uint32_t struct_size) {
  fill_defaults(options, struct_size);
}
void blip_nlvr_options_default(blip_nlvr_options* options, uint32_t struct_size) {
  fill_defaults(options, struct_size);
}

void blip_embed_options_default(blip_embed_options* options, uint32_t struct_size) {
  fill_defaults(options, struct_size);
}
void blip_attention_options_default(blip_attention_options* options, uint32_t struct_size) {
  fill_defaults(options, struct_size);
}
void blip_hub_options_default(blip_hub_options* options, uint32_t struct_size) {
  fill_defaults(options, struct_size);
}
void blip_convert_options_default(blip_convert_options* options, uint32_t struct_size) {
  fill_defaults(options, struct_size);
}

const char* blip_dtype_name(int32_t dtype) {
  return blip::to_string(static_cast<blip::DType>(dtype));
}

blip_status blip_dtype_parse(const char* name, int32_t* dtype, blip_error** error) {
  return guarded(error, [&] {
    if (dtype == nullptr)
      throw blip::Error(blip::ErrorCode::kUsage, "the place for the result is NULL");
    *dtype = static_cast<std::int32_t>(blip::parse_dtype(required(name, "name")));
  });
}

}  // extern "C"
