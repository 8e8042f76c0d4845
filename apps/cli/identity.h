// What the results of a job depend on, by the names that people gave it: one that goes on must have
// been begun with the same.
#pragma once

#include <string>
#include <vector>

#include "blip/blip.h"
#include "cli/options.h"

namespace blip::cli {

// The command, the model and how pictures are decoded.
Json identity_of(const std::string& command, const Engine& engine, const PictureOptions& pictures);
// The options of decoding that have an effect.
void add_decoding(Json& identity, const GenerateOptions& options, const GeneratedText& text);
// null for none; of many their number and digest.
Json identity_of_texts(const std::vector<std::string>& texts);

}  // namespace blip::cli
