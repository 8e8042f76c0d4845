// A model on disk, whatever its layout: configuration, vocabulary, and tensors under our own names.
//
// Canonical names (every tensor declared once with its shape, model/tensor_table.h):
// - vision.{class_token, position, patch.weight, patch.bias, norm.weight, norm.bias}
// - vision.L.{norm1,norm2}.{weight,bias}, vision.L.{qkv,proj,fc1,fc2}.{weight,bias}, L being a
// layer
// - T.{word, position}, T.norm.{weight,bias}, where T is text, caption, question or answer
// - T.L.self.{q,k,v,out}.{weight,bias}, T.L.self.norm.{weight,bias}
// - T.L.cross.{q,k,v,out}.{weight,bias}, T.L.cross.norm.{weight,bias}
// - T.L.{fc1,fc2}.{weight,bias}, T.L.norm.{weight,bias}
// - T.head.{dense.weight, dense.bias, norm.weight, norm.bias, bias}, where T is caption or answer;
//   the decoder's weight is tied to T.word unless T.head.weight is there
// - nlvr.* as T.*, but with nlvr.L.cross{0,1}.{q,k,v,out}.{weight,bias} for the two pictures,
//   nlvr.L.cross.norm.{weight,bias} and, from layer 6 on, nlvr.L.merge.{weight,bias};
//   nlvr.head.{dense,out}.{weight,bias}
// - itm.{weight,bias}, itc.vision.{weight,bias}, itc.text.{weight,bias}
// Linear weights are [out, in] as torch stores them; patch.weight is [width, 3, P, P]; position
// tables are [N, width].
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "blip/blip.h"
#include "io/tensor_file.h"
#include "model/config.h"
#include "model/source.h"
#include "text/vocabulary.h"

namespace blip::model {

// Immutable; tensor views stay valid as long as the Checkpoint lives.
class Checkpoint {
 public:
  // path: HF folder, .safetensors (config.json beside it), .safetensors.index.json, .pth, .bin,
  // .gguf. All tensors the config calls for are checked here: anything missing or mis-shaped is
  // Error(kModel) with expected and got. adapters: LoRA adapters to merge into it
  // (model/adapter.h); a folder with one is itself taken for path (locate()).
  static Checkpoint open(const std::string& path, const std::vector<std::string>& adapters = {});

  const ModelConfig& config() const { return config_; }
  // Its tokens are ids of the word embeddings; there may be rows beyond the last.
  const text::Vocabulary& vocabulary() const { return vocabulary_; }
  const ModelInfo& info() const { return info_; }
  // Where the model and what was merged into it were found.
  const Location& location() const { return location_; }

  bool has(std::string_view name) const;
  // canonical name; absent is a bug (assert)
  const io::TensorView& tensor(std::string_view name) const;
  // The tensor's values as f32 in canonical shape (vision.position interpolated to
  // config().vision.tokens() already).
  std::vector<float> values(std::string_view name) const;
  // Its memory may go: the tensor was read and will hardly be read again.
  void release(std::string_view name) const;
  // Throws Error(kIo) where a file was truncated or written since it was opened: to be called once
  // its values have been read.
  void check_unchanged() const;
  const std::vector<std::string>& names() const {
    return names_;
  }  // every canonical tensor, in table order
  // Linear, convolution and word-embedding weights, which a file may hold in any type; the rest are
  // vectors and positions.
  bool is_matrix(std::string_view name) const { return matrices_.find(name) != matrices_.end(); }

 private:
  std::vector<std::unique_ptr<io::TensorFile>> files_;
  std::vector<std::vector<float>> merged_;                      // what adapters made of tensors
  std::map<std::string, io::TensorView, std::less<>> tensors_;  // by canonical name
  std::vector<std::string> names_;
  std::set<std::string, std::less<>> matrices_;
  ModelConfig config_;
  text::Vocabulary vocabulary_;
  ModelInfo info_;
  Location location_;
};

}  // namespace blip::model
