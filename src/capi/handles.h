// What hides behind the handles of blip/c.h, and how options turn into those of C++.
#pragma once

#include <atomic>
#include <memory>
#include <optional>

#include "blip/blip.h"
#include "blip/hub.h"
#include "capi/guard.h"

namespace blip::capi {

// A ModelInfo as the record that C reads. Points into itself: it stays where it was made.
class InfoRecord {
 public:
  explicit InfoRecord(ModelInfo info);
  InfoRecord(const InfoRecord&) = delete;
  InfoRecord& operator=(const InfoRecord&) = delete;
  const blip_model_info* get() const { return &record_; }

 private:
  ModelInfo info_;
  std::vector<blip_part_info> parts_;
  std::vector<const blip_part_info*> pointers_;
  std::vector<const char*> warnings_, adapters_;
  blip_model_info record_{};
};

// Throws Error(kCancelled) out of the work when the callback asks for it.
ProgressCallback progress_of(blip_progress_callback progress, void* user_data);
[[noreturn]] void throw_cancelled();

EngineOptions engine_options(const blip_engine_options* given);
// What the functions of blip::Image take.
struct ImageOptions {
  ImageLimits limits;
  std::optional<Color> background;
};
ImageOptions image_options(const blip_image_options* given);
ConvertOptions convert_options(const blip_convert_options* given);
MatchOptions match_options(const blip_match_options* given);
NlvrOptions nlvr_options(const blip_nlvr_options* given);
EmbedOptions embed_options(const blip_embed_options* given);
AttentionOptions attention_options(const blip_attention_options* given);
HubOptions hub_options(const blip_hub_options* given);
void apply(const blip_generate_options* given, GenerateOptions& options);

}  // namespace blip::capi

struct blip_image : blip::capi::Handle<0x696d6167> {  // "imag"
  explicit blip_image(blip::Image made) : image(std::move(made)) {}
  blip::Image image;
};

struct blip_engine : blip::capi::ProcessHandle<0x656e6769> {  // "engi"
  explicit blip_engine(blip::Engine made) : engine(std::move(made)), info(engine.info()) {}
  blip::Engine engine;
  blip::capi::InfoRecord info;
};

struct blip_inspection : blip::capi::Handle<0x696e7370> {  // "insp"
  explicit blip_inspection(blip::ModelInfo made) : info(std::move(made)) {}
  blip::capi::InfoRecord info;
};

struct blip_encoded : blip::capi::ProcessHandle<0x656e636f> {  // "enco"
  explicit blip_encoded(blip::EncodedImage made) : image(std::move(made)) {}
  blip::EncodedImage image;
};

struct blip_session : blip::capi::ProcessHandle<0x73657373> {  // "sess"
  blip_session(const blip::Engine& engine, const blip_session_options& given)
      : options(given), session(engine, in_cpp()) {}

  // Captures `this`: a session stays where it was made.
  blip::SessionOptions in_cpp();

  blip_session_options options;
  std::atomic<bool> busy{false}, stop{false};
  blip::Session session;
};

struct blip_generations : blip::capi::Handle<0x67656e65> {  // "gene"
  explicit blip_generations(std::vector<blip::Generation> made);
  std::vector<blip::Generation> values;
  std::vector<std::vector<blip_text>> records;  // point into values
};

struct blip_matches : blip::capi::Handle<0x6d617463> {  // "matc"
  explicit blip_matches(const std::vector<blip::Match>& made);
  std::vector<float> probabilities, cosines, logits;
};

struct blip_tensor : blip::capi::Handle<0x74656e73> {  // "tens"
  explicit blip_tensor(blip::Tensor made) : value(std::move(made)) {}
  blip::Tensor value;
};

struct blip_attention : blip::capi::Handle<0x61747465> {  // "atte"
  struct Words {
    explicit Words(std::vector<blip::WordAttention> made);
    std::vector<std::string> words;
    std::vector<float> weights;  // of all words
  };
  explicit blip_attention(blip::Attention made);
  const Words& of(std::int32_t is_question) const { return is_question != 0 ? question : text; }
  int side;
  Words text, question;
};

struct blip_networks : blip::capi::Handle<0x6e657477> {  // "netw"
  explicit blip_networks(std::vector<blip::ExecutableUse> made);
  std::vector<blip::ExecutableUse> values;
  std::vector<blip_network_use> records;
};

struct blip_device_list : blip::capi::Handle<0x64657669> {  // "devi"
  explicit blip_device_list(std::vector<blip::DeviceInfo> made);
  std::vector<blip::DeviceInfo> values;
  std::vector<blip_device_info> records;
};

struct blip_model_list : blip::capi::Handle<0x6d6f6465> {  // "mode"
  explicit blip_model_list(std::vector<blip::CachedModel> made);
  std::vector<blip::CachedModel> values;
  std::vector<blip_cached_model> records;
};
