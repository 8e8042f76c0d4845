#include "reference_backend/network.h"

#include <algorithm>
#include <cmath>

namespace blip::reference {
namespace {

double gelu(double x) { return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0))); }

// y = x W^T + b, W [out, in] as torch stores it.
Matrix product(const Matrix& x, const std::vector<double>& weight, const std::vector<double>* bias,
               int out) {
  Matrix y(x.rows, out);
  for (int r = 0; r < x.rows; ++r)
    for (int o = 0; o < out; ++o) {
      double sum = bias ? (*bias)[static_cast<std::size_t>(o)] : 0;
      const double* w = weight.data() + static_cast<std::size_t>(o) * x.cols;
      for (int i = 0; i < x.cols; ++i) sum += x.row(r)[i] * w[i];
      y.row(r)[o] = sum;
    }
  return y;
}

Matrix sum(Matrix a, const Matrix& b) {
  for (std::size_t i = 0; i < a.values.size(); ++i) a.values[i] += b.values[i];
  return a;
}

Matrix columns(const Matrix& x, int first, int count) {
  Matrix part(x.rows, count);
  for (int r = 0; r < x.rows; ++r) std::copy_n(x.row(r) + first, count, part.row(r));
  return part;
}

void softmax(std::vector<double>& x) {
  const double max = *std::max_element(x.begin(), x.end());
  double total = 0;
  for (double& value : x) total += value = std::exp(value - max);
  for (double& value : x) value /= total;
}

// softmax(q k^T / sqrt(d)) v, head by head. causal: query i sees the keys up to i. looked: adds the
// mean weights over heads.
Matrix attention(const Matrix& q, const Matrix& k, const Matrix& v, int heads, bool causal,
                 Matrix* looked = nullptr) {
  const int d = q.cols / heads;
  Matrix out(q.rows, q.cols);
  for (int h = 0; h < heads; ++h)
    for (int i = 0; i < q.rows; ++i) {
      std::vector<double> weights(static_cast<std::size_t>(causal ? i + 1 : k.rows));
      for (std::size_t j = 0; j < weights.size(); ++j) {
        const double *a = q.row(i) + h * d, *b = k.row(static_cast<int>(j)) + h * d;
        for (int c = 0; c < d; ++c) weights[j] += a[c] * b[c];
        weights[j] /= std::sqrt(static_cast<double>(d));
      }
      softmax(weights);
      for (std::size_t j = 0; j < weights.size(); ++j) {
        const double* b = v.row(static_cast<int>(j)) + h * d;
        for (int c = 0; c < d; ++c) out.row(i)[h * d + c] += weights[j] * b[c];
        if (looked) looked->row(i)[j] += weights[j] / heads;
      }
    }
  return out;
}

}  // namespace

Network::Network(const model::Checkpoint& checkpoint) : config_(checkpoint.config()) {
  for (const std::string& name : checkpoint.names()) {
    const std::vector<float> values = checkpoint.values(name);
    tensors_[name].assign(values.begin(), values.end());
  }
}

Matrix Network::linear(const std::string& name, const Matrix& x) const {
  const auto& bias = tensor(name + ".bias");
  return product(x, tensor(name + ".weight"), &bias, static_cast<int>(bias.size()));
}

Matrix Network::norm(const std::string& name, double eps, const Matrix& x) const {
  const auto &gain = tensor(name + ".weight"), &bias = tensor(name + ".bias");
  Matrix y(x.rows, x.cols);
  for (int r = 0; r < x.rows; ++r) {
    double mean = 0, variance = 0;
    for (int i = 0; i < x.cols; ++i) mean += x.row(r)[i] / x.cols;
    for (int i = 0; i < x.cols; ++i) variance += std::pow(x.row(r)[i] - mean, 2) / x.cols;
    for (int i = 0; i < x.cols; ++i) {
      const auto n = static_cast<std::size_t>(i);
      y.row(r)[i] = (x.row(r)[i] - mean) / std::sqrt(variance + eps) * gain[n] + bias[n];
    }
  }
  return y;
}

// fc2(gelu(fc1(x)))
Matrix Network::mlp(const std::string& name, const Matrix& x) const {
  Matrix wide = linear(name + ".fc1", x);
  for (double& value : wide.values) value = gelu(value);
  return linear(name + ".fc2", wide);
}

Matrix Network::vision(std::span<const float> pixels) const {
  const model::VisionConfig& c = config_.vision;
  const int side = c.image_size / c.patch_size, p = c.patch_size;
  Matrix patches(side * side, 3 * p * p);
  for (int n = 0; n < side * side; ++n)
    for (int i = 0; i < patches.cols; ++i) {
      const int channel = i / (p * p), y = n / side * p + i / p % p, x = n % side * p + i % p;
      const int at = (channel * c.image_size + y) * c.image_size + x;
      patches.row(n)[i] = pixels[static_cast<std::size_t>(at)];
    }
  const Matrix embedded = linear("vision.patch", patches);
  Matrix x(c.tokens(), c.width);
  for (int n = 0; n < x.rows; ++n)
    for (int i = 0; i < x.cols; ++i) {
      const double token = n == 0 ? tensor("vision.class_token")[static_cast<std::size_t>(i)]
                                  : embedded.row(n - 1)[i];
      x.row(n)[i] = token + tensor("vision.position")[static_cast<std::size_t>(n * x.cols + i)];
    }
  for (int l = 0; l < c.layers; ++l) {
    const std::string layer = "vision." + std::to_string(l);
    const Matrix qkv = linear(layer + ".qkv", norm(layer + ".norm1", c.eps, x));
    const Matrix mixed = attention(columns(qkv, 0, c.width), columns(qkv, c.width, c.width),
                                   columns(qkv, 2 * c.width, c.width), c.heads, false);
    x = sum(linear(layer + ".proj", mixed), x);
    x = sum(mlp(layer, norm(layer + ".norm2", c.eps, x)), x);
  }
  return norm("vision.norm", c.eps, x);
}

Cross Network::cross(const std::string& name, const model::TextConfig& c, const Matrix& states,
                     const std::string& attention) const {
  Cross cross;
  for (int l = 0; l < c.layers; ++l) {
    const std::string layer = name + "." + std::to_string(l) + "." + attention;
    cross.push_back({linear(layer + ".k", states), linear(layer + ".v", states)});
  }
  return cross;
}

Matrix Network::read(const std::string& layer, int number, int heads, const Matrix& x,
                     const Seen& seen, Matrix* weights) const {
  const auto output = [&](const std::string& attention_name, const Cross& cross) {
    const KeysValues& kv = cross[static_cast<std::size_t>(number)];
    return linear(attention_name + ".out", attention(linear(attention_name + ".q", x), kv.keys,
                                                     kv.values, heads, false, weights));
  };
  if (seen.size() == 1) return output(layer + ".cross", *seen[0]);
  const Matrix first = output(layer + ".cross0", *seen[0]),
               second = output(layer + ".cross1", *seen[1]);
  if (number >= model::kNlvrFirstMerge) {
    Matrix both(x.rows, 2 * first.cols);
    for (int r = 0; r < x.rows; ++r) {
      std::copy_n(first.row(r), first.cols, both.row(r));
      std::copy_n(second.row(r), first.cols, both.row(r) + first.cols);
    }
    return linear(layer + ".merge", both);
  }
  Matrix mean = sum(first, second);
  for (double& value : mean.values) value /= 2;
  return mean;
}

Matrix Network::text(const std::string& name, const model::TextConfig& c,
                     std::span<const std::int32_t> ids, const Seen& seen, bool causal,
                     Looked* looked) const {
  const auto &word = tensor(name + ".word"), &position = tensor(name + ".position");
  Matrix x(static_cast<int>(ids.size()), c.width);
  for (int t = 0; t < x.rows; ++t)
    for (int i = 0; i < c.width; ++i)
      x.row(t)[i] = word[static_cast<std::size_t>(ids[static_cast<std::size_t>(t)]) * c.width + i] +
                    position[static_cast<std::size_t>(t) * c.width + i];
  x = norm(name + ".norm", c.eps, x);
  for (int l = 0; l < c.layers; ++l) {
    const std::string layer = name + "." + std::to_string(l);
    const std::string self = layer + ".self";
    const Matrix mixed = attention(linear(self + ".q", x), linear(self + ".k", x),
                                   linear(self + ".v", x), c.heads, causal);
    x = norm(self + ".norm", c.eps, sum(linear(self + ".out", mixed), x));
    if (!seen.empty()) {
      Matrix* weights = looked && l >= looked->first_layer ? &looked->weights : nullptr;
      x = norm(layer + ".cross.norm", c.eps, sum(read(layer, l, c.heads, x, seen, weights), x));
    }
    x = norm(layer + ".norm", c.eps, sum(mlp(layer, x), x));
  }
  return x;
}

Matrix Network::head(const std::string& name, const model::TextConfig& c,
                     const Matrix& states) const {
  Matrix x = linear(name + ".head.dense", states);
  for (double& value : x.values) value = gelu(value);
  x = norm(name + ".head.norm", c.eps, x);
  const bool tied = !tensors_.contains(name + ".head.weight");
  return product(x, tensor(tied ? name + ".word" : name + ".head.weight"),
                 &tensor(name + ".head.bias"), c.vocab);
}

}  // namespace blip::reference
