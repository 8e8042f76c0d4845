#include "backend/sophon/compiled_model.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "backend/sophon/fixed_decoding.h"
#include "backend/sophon/stages.h"
#include "backend/sophon/values.h"
#include "blip/error.h"

namespace blip::backend::sophon {
namespace {

constexpr float kLargestId = 1 << 24;  // floats hold every whole number up to here

// What encode leaves on the chip: the image tokens, or for a whole-task network the pixels.
class DeviceImage final : public EncodedImage {
 public:
  explicit DeviceImage(MemoryPtr memory) : memory_(std::move(memory)) {}
  const DeviceMemory& memory() const { return *memory_; }
  std::size_t bytes() const override { return memory_->bytes(); }

 private:
  MemoryPtr memory_;
};

const DeviceMemory& memory_of(const EncodedImage& image) {
  return static_cast<const DeviceImage&>(image).memory();
}

TokenIds download_ids(const DeviceMemory& memory, const Port& port, const std::string& path) {
  TokenIds ids(port.elements());
  if (port.dtype == abi::DataType::kI32) {
    memory.download(std::as_writable_bytes(std::span(ids)));
    return ids;
  }
  std::vector<float> values(port.elements());
  memory.download(std::as_writable_bytes(std::span(values)));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const float rounded = std::nearbyint(values[i]);
    if (!(values[i] >= 0 && values[i] < kLargestId && rounded == values[i]))
      throw Error(ErrorCode::kModel, path + ": id " + std::to_string(i) + " of its output is " +
                                         std::to_string(values[i]) + ", not a token id");
    ids[i] = static_cast<std::int32_t>(rounded);
  }
  return ids;
}

// Memory that one network writes and the next reads, large enough for either.
MemoryPtr make_pipe(const Network& from, const Network& to) {
  return std::make_unique<DeviceMemory>(
      from.device(), std::max(from.outputs()[0].capacity, to.inputs()[0].capacity));
}

// The memory of a text's ids and mask, made once.
class TextInput {
 public:
  TextInput(const Network& network, std::int32_t pad)
      : ids_port_(network.inputs()[1]),
        mask_port_(network.inputs()[2]),
        ids_(network.make_input(1)),
        mask_(network.make_input(2)),
        pad_(pad) {}

  void set(const TokenIds& text) {
    TokenIds ids = text, mask(text.size(), 1);
    ids.resize(ids_port_.elements(), pad_);
    mask.resize(mask_port_.elements(), 0);
    upload_numbers(*ids_, ids_port_, ids);
    upload_numbers(*mask_, mask_port_, mask);
  }
  const DeviceMemory* ids() const { return ids_.get(); }
  const DeviceMemory* mask() const { return mask_.get(); }

 private:
  const Port &ids_port_, &mask_port_;
  MemoryPtr ids_, mask_;
  std::int32_t pad_;
};

class CompiledRunner final : public Runner {
 public:
  CompiledRunner(const Stages& stages, const Capabilities& capabilities, CompiledVocabulary words)
      : stages_(stages), capabilities_(capabilities), words_(words) {
    if (const auto& network = text_network()) text_.emplace(*network, words.pad);
    if (const auto& network = stages_[Role::kVision]) pixels_ = network->make_input(0);
    if (const auto& network = stages_[Role::kQuestion]) {
      // The answer decoder reads what the question encoder writes.
      states_ = make_pipe(*network, *stages_[Role::kAnswer]);
    }
    for (const Role role : {Role::kCaption, Role::kMatch, Role::kAnswer}) {
      if (stages_[role]) output_ = stages_[role]->make_output(0);
    }
  }

  std::vector<EncodedImagePtr> encode(std::span<const float> pixels, int count) override {
    std::vector<EncodedImagePtr> images;
    const std::size_t values = pixels.size() / static_cast<std::size_t>(std::max(count, 1));
    for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i)
      images.push_back(encode_one(pixels.subspan(i * values, values)));
    return images;
  }

  std::vector<std::vector<decode::Hypothesis>> caption(std::span<const EncodedImagePtr> images,
                                                       const TokenIds& prompt,
                                                       const decode::Options& options,
                                                       const decode::Hooks& hooks) override {
    check_fixed_options(options, CaptionOptions().generate, capabilities_.caption_length,
                        "caption");
    const Network& network = *stages_[Role::kCaption];
    std::vector<std::vector<decode::Hypothesis>> captions;
    for (const EncodedImagePtr& image : images) {
      poll(hooks);
      run(network, {&memory_of(*image)}, *output_);
      captions.push_back({read_text(network, prompt, static_cast<int>(captions.size()), hooks)});
    }
    return captions;
  }

  std::vector<MatchScore> match(const EncodedImage& image, std::span<const TokenIds> texts,
                                const MatchOptions&, const decode::Hooks& hooks) override {
    std::vector<MatchScore> scores;
    for (const TokenIds& text : texts) {
      poll(hooks);
      text_->set(text);
      run(*stages_[Role::kMatch], {&memory_of(image), text_->ids(), text_->mask()}, *output_);
      float probability = 0;
      output_->download(std::as_writable_bytes(std::span(&probability, 1)));
      scores.push_back({probability, std::nullopt});
    }
    return scores;
  }

  std::vector<std::vector<decode::Hypothesis>> ask(const EncodedImage& image,
                                                   std::span<const TokenIds> questions,
                                                   const decode::Options& options,
                                                   const decode::Hooks& hooks) override {
    check_fixed_options(options, AskOptions().generate, capabilities_.answer_length, "answer");
    const Network& network = *stages_[Role::kAnswer];
    const TokenIds prompt{words_.bos};
    std::vector<std::vector<decode::Hypothesis>> answers;
    for (const TokenIds& question : questions) {
      poll(hooks);
      encode_question(image, question);
      run(network, {states_.get()}, *output_);
      answers.push_back({read_text(network, prompt, static_cast<int>(answers.size()), hooks)});
    }
    return answers;
  }

  std::vector<decode::Ranked> rank(const EncodedImage&, const TokenIds&, std::span<const TokenIds>,
                                   int, const decode::Hooks&) override {
    lacks("rank answers");
  }
  std::vector<float> embed_image(const EncodedImage&) override { lacks("embed pictures"); }
  std::vector<std::vector<float>> embed_texts(std::span<const TokenIds>) override {
    lacks("embed texts");
  }

  Tensor dump_vision(const EncodedImage& image) override {
    if (!stages_[Role::kVision]) lacks("dump image tokens");
    return download_tensor(memory_of(image), stages_[Role::kVision]->outputs()[0]);
  }

  Tensor dump_text(const EncodedImage& image, const TokenIds& text, bool question) override {
    if (!question || !stages_[Role::kQuestion]) lacks("dump text states");
    encode_question(image, text);
    return download_tensor(*states_, stages_[Role::kQuestion]->outputs()[0]);
  }

 private:
  [[noreturn]] static void lacks(const std::string& task) {
    throw Error(ErrorCode::kUnsupported,
                "this bmodel cannot " + task + ": the network does not give them out");
  }

  const NetworkPtr& text_network() const {
    return stages_[Role::kMatch] ? stages_[Role::kMatch] : stages_[Role::kQuestion];
  }

  EncodedImagePtr encode_one(std::span<const float> pixels) {
    const NetworkPtr& vision = stages_[Role::kVision];
    if (!vision) {
      MemoryPtr memory =
          stages_[capabilities_.caption ? Role::kCaption : Role::kMatch]->make_input(0);
      memory->upload(std::as_bytes(pixels));
      return std::make_shared<const DeviceImage>(std::move(memory));
    }
    pixels_->upload(std::as_bytes(pixels));
    MemoryPtr memory = make_pipe(*vision, *stages_[Role::kQuestion]);
    run(*vision, {pixels_.get()}, *memory);
    return std::make_shared<const DeviceImage>(std::move(memory));
  }

  // Leaves the states in states_.
  void encode_question(const EncodedImage& image, const TokenIds& question) {
    text_->set(question);
    run(*stages_[Role::kQuestion], {&memory_of(image), text_->ids(), text_->mask()}, *states_);
  }

  static void run(const Network& network, std::initializer_list<const DeviceMemory*> inputs,
                  DeviceMemory& output) {
    DeviceMemory* const outputs[] = {&output};
    network.run(std::span(inputs.begin(), inputs.size()), outputs);
  }

  decode::Hypothesis read_text(const Network& network, const TokenIds& prompt, int sequence,
                               const decode::Hooks& hooks) {
    const TokenIds ids = download_ids(*output_, network.outputs()[0], network.path());
    decode::Hypothesis text = fixed_text(ids, prompt, words_, network.path());
    if (hooks.on_token)
      for (std::size_t i = prompt.size(); i < text.ids.size(); ++i)
        hooks.on_token(sequence, text.ids[i]);
    return text;
  }

  const Stages& stages_;
  const Capabilities& capabilities_;
  CompiledVocabulary words_;
  std::optional<TextInput> text_;
  MemoryPtr pixels_, states_, output_;
};

class CompiledModel final : public ChipModel {
 public:
  CompiledModel(Stages stages, CompiledVocabulary words)
      : stages_(std::move(stages)), words_(words) {
    Capabilities& c = capabilities_;
    c.caption = stages_[Role::kCaption] != nullptr;
    c.itm = stages_[Role::kMatch] != nullptr;
    c.ask = stages_[Role::kAnswer] != nullptr;
    c.beams = c.sampling = c.prompt = false;
    const auto last = [](const Port& port) { return port.shape.dims[port.shape.num_dims - 1]; };
    if (c.caption) c.caption_length = last(stages_[Role::kCaption]->outputs()[0]);
    if (c.ask) c.answer_length = last(stages_[Role::kAnswer]->outputs()[0]);
    c.image_size = last(stages_[c.caption ? Role::kCaption
                                : c.itm   ? Role::kMatch
                                          : Role::kVision]
                            ->inputs()[0]);
    if (c.itm || c.ask)
      c.text_length = c.max_text_length =
          last(stages_[c.itm ? Role::kMatch : Role::kQuestion]->inputs()[1]);
  }

  const Capabilities& capabilities() const override { return capabilities_; }
  std::unique_ptr<Runner> make_runner() const override {
    return std::make_unique<CompiledRunner>(stages_, capabilities_, words_);
  }
  DType dtype() const override {
    return DType::kF32;
  }  // of what goes in and out; the graph's own type is the compiler's business
  const Device& device() const override { return *networks().front()->device(); }
  std::vector<NetworkPtr> networks() const override {
    std::vector<NetworkPtr> list;
    for (const NetworkPtr& network : stages_.networks)
      if (network) list.push_back(network);
    return list;
  }

 private:
  Stages stages_;
  CompiledVocabulary words_;
  Capabilities capabilities_;
};

}  // namespace

std::shared_ptr<const ChipModel> load_compiled(const std::shared_ptr<Device>& device,
                                               const std::vector<std::string>& bmodels,
                                               CompiledVocabulary words) {
  std::vector<NetworkPtr> networks;
  for (const std::string& path : bmodels)
    for (NetworkPtr& network : Network::load(device, path)) networks.push_back(std::move(network));
  return std::make_shared<const CompiledModel>(arrange(networks), words);
}

}  // namespace blip::backend::sophon
