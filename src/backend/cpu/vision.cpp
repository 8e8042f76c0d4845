#include "backend/cpu/vision.h"

#include <algorithm>
#include <cassert>

#include "core/zone.h"
#include "ops/attention.h"

namespace blip::backend::cpu {
namespace {

// [3, S, S] -> [patches, 3 P P]: each row one patch as the convolution's weight sees it.
void gather_patches(const float* pixels, int size, int patch, Matrix out) {
  const int side = size / patch;
  for (int y = 0; y < side; ++y)
    for (int x = 0; x < side; ++x) {
      float* row = out.row(y * side + x);
      for (int c = 0; c < 3; ++c)
        for (int dy = 0; dy < patch; ++dy, row += patch)
          std::copy_n(
              pixels + (static_cast<std::size_t>(c) * size + y * patch + dy) * size + x * patch,
              patch, row);
    }
}

// x[B N, D] = cat(class_token, conv(pixels)) + position
void embed(ThreadPool& pool, const VisionWeights& w, std::span<const float> pixels, int batch,
           Matrix x, VisionScratch& scratch) {
  const auto& c = w.config;
  const int n = c.tokens(), d = c.width;
  const Matrix patches =
      scratch_matrix(scratch.patches, batch * (n - 1), 3 * c.patch_size * c.patch_size);
  const std::size_t picture = std::size_t{3} * c.image_size * c.image_size;
  pool.parallel_for(batch, [&](int b, int) {
    gather_patches(pixels.data() + b * picture, c.image_size, c.patch_size,
                   patches.row_range(b * (n - 1), n - 1));
    float* tokens = x.row(b * n);
    std::copy_n(w.position.data(), static_cast<std::size_t>(n) * d, tokens);
    for (int i = 0; i < d; ++i) tokens[i] += w.class_token[i];
  });
  const auto operand = ops::to_operand(pool, patches, w.patch.type(), scratch.normed);
  for (int b = 0; b < batch; ++b)
    ops::linear(pool, operand.row_range(b * (n - 1), n - 1), w.patch, x.row_range(b * n + 1, n - 1),
                ops::Epilogue::kAdd);
}

// x += proj(softmax(q k^T / sqrt(d)) v)
void self_attention(ThreadPool& pool, const VisionWeights& w, const VisionLayer& layer, int batch,
                    Matrix x, VisionScratch& scratch) {
  const OperationZone zone("self-attention");
  const int d = w.config.width, n = w.config.tokens(), heads = w.config.heads;
  const Matrix context = scratch_matrix(scratch.context, x.rows, d);
  const auto qkv =
      ops::linear_as(pool, ops::layer_norm(pool, x, layer.norm1, layer.qkv.type(), scratch.normed),
                     layer.qkv, w.cache_type, scratch.qkv);
  const auto key_type = layer.qkv.type() == ops::NumberType::kInt8 && ops::has_byte_keys(d / heads)
                            ? ops::NumberType::kInt8
                            : w.cache_type;
  while (static_cast<int>(scratch.kv.size()) < batch)
    scratch.kv.emplace_back(heads, d / heads, n, key_type);
  std::vector<ops::AttentionItem> items;
  for (int b = 0; b < batch; ++b) {
    const auto rows = qkv.row_range(b * n, n);
    scratch.kv[b].clear();
    ops::append(pool, scratch.kv[b], rows.col_range(d, d), rows.col_range(2 * d, d));
    items.push_back({rows.col_range(0, d), &scratch.kv[b], context.row_range(b * n, n)});
  }
  ops::attention(pool, items);
  ops::linear(pool, ops::to_operand(pool, context, layer.proj.type(), scratch.mixed), layer.proj, x,
              ops::Epilogue::kAdd);
}

// x += fc2(gelu(fc1(norm2(x))))
void mlp(ThreadPool& pool, const VisionLayer& layer, Matrix x, VisionScratch& scratch) {
  const OperationZone zone("feed-forward");
  const auto normed = ops::layer_norm(pool, x, layer.norm2, layer.fc1.type(), scratch.normed);
  ops::linear(pool, ops::linear_gelu(pool, normed, layer.fc1, scratch.hidden), layer.fc2, x,
              ops::Epilogue::kAdd);
}

}  // namespace

void vision_forward(ThreadPool& pool, const VisionWeights& w, std::span<const float> pixels,
                    int batch, Matrix tokens, VisionScratch& scratch) {
  assert(tokens.rows == batch * w.config.tokens() && tokens.cols == w.config.width);
  assert(pixels.size() ==
         static_cast<std::size_t>(batch) * 3 * w.config.image_size * w.config.image_size);
  embed(pool, w, pixels, batch, tokens, scratch);
  for (const auto& layer : w.layers) {
    self_attention(pool, w, layer, batch, tokens, scratch);
    mlp(pool, layer, tokens, scratch);
  }
  ops::layer_norm(pool, tokens, w.norm, tokens);
}

}  // namespace blip::backend::cpu
