// The vocabulary of a checkpoint: where it is found, whether it is that of the weights, and which
// ids do what.
#pragma once

#include <string>
#include <vector>

#include "blip/blip.h"
#include "model/config.h"
#include "model/source.h"
#include "model/tensor_table.h"
#include "text/vocabulary.h"

namespace blip::model {

// Fills config.tokens. Throws Error(kModel) where the vocabulary is not that of the word
// embeddings: each row has a token, but for BLIP's own two, which are added here where
// transformers' folders leave them out, and rows that only pad behind them.
text::Vocabulary settle_vocabulary(const Source& source, Layout layout, ModelConfig& config,
                                   std::vector<std::string>& warnings);

// What ModelInfo says about the prompt and the ids, and about the lengths of texts.
void describe_tokens(const ModelConfig& config, ModelInfo& info);
void describe_texts(const ModelConfig& config, ModelInfo& info);

}  // namespace blip::model
