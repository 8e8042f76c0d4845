#include "backend/sophon/folder_model.h"

#include <algorithm>
#include <array>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

#include "backend/sophon/cache_decoder.h"
#include "backend/sophon/network_set.h"
#include "backend/sophon/values.h"
#include "backend/staged_runner.h"

namespace blip::backend::sophon {
namespace {

constexpr float kHidden = -10000.f;  // of an additive mask
// Ports of the networks (NETWORKS.md).
constexpr std::size_t kTextIds = 0, kTextMask = 1;
constexpr std::size_t kVisionTokens = 0, kVisionVector = 1, kMatchLogits = 0, kMatchStates = 1,
                      kQuestionStates = 0, kAnswerCross = 1;

// A picture on the chip: its tokens, and for each reader its keys and values, made at first use,
// then shared by every task and session.
class KeptImage final : public EncodedImage {
 public:
  KeptImage(MemoryPtr tokens, std::vector<float> vector)
      : tokens_(std::move(tokens)), vector_(std::move(vector)) {}
  const DeviceMemory& tokens() const { return *tokens_; }
  const std::vector<float>& vector() const { return vector_; }  // ITC, unit length

  std::size_t bytes() const override {
    const std::lock_guard lock(mutex_);
    std::size_t sum = tokens_->bytes() + vector_.size() * sizeof(float);
    for (const auto& [part, cross] : cross_) sum += cross ? cross->bytes() : 0;
    return sum;
  }

  // network: kTextCross, kQuestionCross or kCaptionCross.
  std::shared_ptr<const DeviceMemory> cross(Part part, const Network& network) const {
    const std::lock_guard lock(mutex_);
    auto& cross = cross_[part];
    if (!cross) {
      std::shared_ptr<DeviceMemory> made = network.make_output(0);
      const DeviceMemory* const in[] = {tokens_.get()};
      DeviceMemory* const out[] = {made.get()};
      network.run(in, out);
      cross = std::move(made);
    }
    return cross;
  }

 private:
  MemoryPtr tokens_;
  std::vector<float> vector_;
  mutable std::mutex mutex_;
  mutable std::map<Part, std::shared_ptr<const DeviceMemory>> cross_;
};

const KeptImage& kept(const EncodedImage& image) { return static_cast<const KeptImage&>(image); }

class ChipRunner final : public StagedRunner {
 public:
  ChipRunner(std::shared_ptr<const NetworkSet> networks, const Capabilities& capabilities,
             SpecialIds ids)
      : StagedRunner(capabilities, ids), networks_(std::move(networks)) {}

  std::vector<EncodedImagePtr> encode(std::span<const float> pixels, int count) override {
    std::vector<EncodedImagePtr> images;
    const std::size_t values = pixels.size() / static_cast<std::size_t>(std::max(count, 1));
    Launcher& vision = launcher(Part::kVision);
    for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
      vision.put_floats(0, pixels.subspan(i * values, values));
      MemoryPtr tokens = vision.network().make_output(kVisionTokens);
      std::vector<DeviceMemory*> outputs(vision.network().outputs().size(), nullptr);
      outputs[kVisionTokens] = tokens.get();
      vision.run({nullptr}, std::move(outputs));
      std::vector<float> vector;
      if (manifest().embed > 0) {
        vector = vision.floats(kVisionVector, static_cast<std::size_t>(manifest().embed));
        normalize_length(vector);
      }
      images.push_back(std::make_shared<const KeptImage>(std::move(tokens), std::move(vector)));
    }
    return images;
  }

  std::unique_ptr<decode::Decoder> caption_decoder(std::span<const EncodedImagePtr> images,
                                                   const GenerateOptions&) override {
    std::vector<Attended> sequences;
    for (const auto& image : images)
      sequences.push_back({cross(*image, Part::kCaptionCross), nullptr});
    if (!caption_)
      caption_.emplace(
          *networks_, Part::kCaptionStep,
          manifest().prompt_length > 0 ? std::optional(Part::kCaptionPrefill) : std::nullopt);
    return std::make_unique<CacheDecoder>(*caption_, std::move(sequences));
  }

  std::unique_ptr<decode::Decoder> answer_decoder(const EncodedImage& image,
                                                  std::span<const TokenIds> questions,
                                                  int) override {
    std::vector<Attended> sequences;
    Launcher& network = launcher(Part::kQuestion);
    for (const TokenIds& question : questions) {
      std::shared_ptr<DeviceMemory> answer_cross = network.network().make_output(kAnswerCross);
      std::shared_ptr<DeviceMemory> mask = network.network().make_input(kTextMask);
      run_question(image, question, answer_cross.get());
      upload_floats(*mask, mask_of(std::span(&question, 1), 1));
      sequences.push_back({std::move(answer_cross), std::move(mask)});
    }
    if (!answer_) answer_.emplace(*networks_, Part::kAnswerStep, std::nullopt);
    return std::make_unique<CacheDecoder>(*answer_, std::move(sequences));
  }

  std::vector<float> match_pass(const EncodedImage& image,
                                std::span<const TokenIds> texts) override {
    std::vector<float> logits;
    each_part(Part::kMatch, texts, [&](Launcher& network, std::span<const TokenIds> part) {
      run_match(network, image, part);
      const std::vector<float> some = network.floats(kMatchLogits, 2 * part.size());
      logits.insert(logits.end(), some.begin(), some.end());
    });
    return logits;
  }

  std::vector<float> embed_image(const EncodedImage& image) override {
    return kept(image).vector();
  }

  std::vector<std::vector<float>> embed_pass(std::span<const TokenIds> texts) override {
    std::vector<std::vector<float>> vectors;
    each_part(Part::kText, texts, [&](Launcher& network, std::span<const TokenIds> part) {
      put_texts(network, part);
      network.run({nullptr, nullptr}, {nullptr});
      const auto embed = static_cast<std::ptrdiff_t>(manifest().embed);
      const std::vector<float> all =
          network.floats(0, part.size() * static_cast<std::size_t>(embed));
      for (auto begin = all.begin(); begin != all.end(); begin += embed) {
        vectors.emplace_back(begin, begin + embed);
        normalize_length(vectors.back());
      }
    });
    return vectors;
  }

  Tensor dump_vision(const EncodedImage& image) override {
    return download_tensor(kept(image).tokens(),
                           launcher(Part::kVision).network().outputs()[kVisionTokens]);
  }

  Tensor dump_text(const EncodedImage& image, const TokenIds& text, bool question) override {
    const std::size_t output = question ? kQuestionStates : kMatchStates;
    Launcher& network = question ? launcher(Part::kQuestion)
                                 : launcher(Part::kMatch, networks_->sizes(Part::kMatch).front());
    if (question) {
      run_question(image, text, nullptr);
    } else {
      run_match(network, image, std::span(&text, 1));
    }
    // Of the first row, without what stands for the padding.
    const auto length = static_cast<std::int64_t>(text.size()),
               width = static_cast<std::int64_t>(manifest().width);
    return {{1, length, width}, network.floats(output, static_cast<std::size_t>(length * width))};
  }

 private:
  const Manifest& manifest() const { return networks_->manifest(); }

  Launcher& launcher(Part part, int rows = 1) {
    return launchers_.try_emplace(std::pair(part, rows), networks_->get(part, rows)).first->second;
  }

  std::shared_ptr<const DeviceMemory> cross(const EncodedImage& image, Part part) const {
    return kept(image).cross(part, networks_->get(part));
  }

  // work(network, texts) for as many texts at a time as a network takes.
  template <class Work>
  void each_part(Part part, std::span<const TokenIds> texts, Work work) {
    for (const int rows : split_rows(static_cast<int>(texts.size()), networks_->sizes(part))) {
      const auto count = std::min(static_cast<std::size_t>(rows), texts.size());
      work(launcher(part, rows), texts.first(count));
      texts = texts.subspan(count);
    }
  }

  // [rows, 1, 1, T]; rows left over repeat the first text.
  std::vector<float> mask_of(std::span<const TokenIds> texts, std::size_t rows) const {
    const auto length = static_cast<std::size_t>(manifest().text_length);
    std::vector<float> mask(rows * length, kHidden);
    for (std::size_t r = 0; r < rows; ++r) {
      const TokenIds& text = texts[r < texts.size() ? r : 0];
      std::fill_n(mask.begin() + static_cast<std::ptrdiff_t>(r * length),
                  std::min(text.size(), length), 0.f);
    }
    return mask;
  }

  void put_texts(Launcher& network, std::span<const TokenIds> texts) const {
    const auto length = static_cast<std::size_t>(manifest().text_length);
    const auto rows = static_cast<std::size_t>(network.network().inputs()[kTextIds].shape.dims[0]);
    TokenIds ids(rows * length, manifest().pad);
    for (std::size_t r = 0; r < rows; ++r) {
      const TokenIds& text = texts[r < texts.size() ? r : 0];
      std::copy_n(text.begin(), std::min(text.size(), length),
                  ids.begin() + static_cast<std::ptrdiff_t>(r * length));
    }
    network.put_numbers(kTextIds, ids);
    network.put_floats(kTextMask, mask_of(texts, rows));
  }

  // Leaves logits and states in the network's outputs.
  void run_match(Launcher& network, const EncodedImage& image, std::span<const TokenIds> texts) {
    const auto keys_values = cross(image, Part::kTextCross);
    put_texts(network, texts);
    network.run({nullptr, nullptr, keys_values.get()}, {nullptr, nullptr});
  }

  // Leaves the states in the network's output; answer_cross: null where it is not needed.
  void run_question(const EncodedImage& image, const TokenIds& question,
                    DeviceMemory* answer_cross) {
    Launcher& network = launcher(Part::kQuestion);
    const auto keys_values = cross(image, Part::kQuestionCross);
    put_texts(network, std::span(&question, 1));
    network.run({nullptr, nullptr, keys_values.get()}, {nullptr, answer_cross});
  }

  std::shared_ptr<const NetworkSet> networks_;
  std::map<std::pair<Part, int>, Launcher> launchers_;
  std::optional<StepNetworks> caption_, answer_;
};

class FolderModel final : public ChipModel {
 public:
  FolderModel(const Manifest& manifest, const std::shared_ptr<Device>& device)
      : networks_(std::make_shared<const NetworkSet>(manifest, device)) {
    const Manifest& m = networks_->manifest();
    capabilities_ = capabilities_of(m);
    ids_ = {m.dec, m.sep, m.pad};
  }

  const Capabilities& capabilities() const override { return capabilities_; }
  std::unique_ptr<Runner> make_runner() const override {
    return std::make_unique<ChipRunner>(networks_, capabilities_, ids_);
  }
  DType dtype() const override {
    const std::string& type = networks_->manifest().dtype;
    return type == "f16"    ? DType::kF16
           : type == "bf16" ? DType::kBf16
           : type == "int8" ? DType::kInt8
                            : DType::kF32;
  }
  const Device& device() const override { return *networks_->device(); }
  std::vector<NetworkPtr> networks() const override { return networks_->all(); }

 private:
  std::shared_ptr<const NetworkSet> networks_;
  Capabilities capabilities_;
  SpecialIds ids_;
};

}  // namespace

Capabilities capabilities_of(const Manifest& manifest) {
  return {.caption = manifest.caption,
          .itm = manifest.itm,
          .itc = manifest.itc,
          .ask = manifest.ask,
          .rank = manifest.ask,
          .max_length = manifest.caption || manifest.ask ? manifest.slots : 0,
          .image_size = manifest.image_size,
          .text_length = manifest.text_length,
          .max_text_length = manifest.text_length};
}

std::shared_ptr<const ChipModel> load_folder(const std::shared_ptr<Device>& device,
                                             const Manifest& manifest) {
  return std::make_shared<const FolderModel>(manifest, device);
}

}  // namespace blip::backend::sophon
