// The towers of BLIP over double matrices, each step as the model's description says it.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "model/checkpoint.h"

namespace blip::reference {

// Row-major.
struct Matrix {
  int rows = 0, cols = 0;
  std::vector<double> values;

  Matrix() = default;
  Matrix(int r, int c) : rows(r), cols(c), values(static_cast<std::size_t>(r) * c) {}
  double* row(int r) { return values.data() + static_cast<std::size_t>(r) * cols; }
  const double* row(int r) const { return values.data() + static_cast<std::size_t>(r) * cols; }
};

// The keys and values of a layer's cross-attention.
struct KeysValues {
  Matrix keys, values;
};
using Cross = std::vector<KeysValues>;  // of each layer
// What a text looks at: nothing ("text" mode), one thing, or the two pictures of BLIP-NLVR.
using Seen = std::vector<const Cross*>;

// How the rows of a text looked at what their cross-attention reads, summed up over the layers from
// `first_layer` on: the mean over heads.
struct Looked {
  int first_layer = 0;
  Matrix weights;
};

// A checkpoint's tensors in double. Immutable, may be used by several threads.
class Network {
 public:
  explicit Network(const model::Checkpoint& checkpoint);

  const model::ModelConfig& config() const { return config_; }

  // [3, S, S] -> [N, Dv]
  Matrix vision(std::span<const float> pixels) const;
  // The keys and values that tower `name` ("caption") makes of states [N, Dv]. attention: which one
  // of its layers, "cross", or of those over two pictures "cross0" and "cross1".
  Cross cross(const std::string& name, const model::TextConfig& c, const Matrix& states,
              const std::string& attention = "cross") const;
  // The states [T, D] of a text.
  Matrix text(const std::string& name, const model::TextConfig& c,
              std::span<const std::int32_t> ids, const Seen& seen, bool causal,
              Looked* looked = nullptr) const;
  // Logits [T, vocab] of states [T, D].
  Matrix head(const std::string& name, const model::TextConfig& c, const Matrix& states) const;
  // x W + b of the layer `name`, for x [n, in].
  Matrix linear(const std::string& name, const Matrix& x) const;

 private:
  const std::vector<double>& tensor(const std::string& name) const { return tensors_.at(name); }
  Matrix norm(const std::string& name, double eps, const Matrix& x) const;
  // What the cross-attention of a layer (its name and number) gives for x.
  Matrix read(const std::string& layer, int number, int heads, const Matrix& x, const Seen& seen,
              Matrix* weights) const;
  Matrix mlp(const std::string& name, const Matrix& x) const;

  model::ModelConfig config_;
  std::map<std::string, std::vector<double>> tensors_;
};

}  // namespace blip::reference
