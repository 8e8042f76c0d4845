// /v1/history: what the web page keeps.
#pragma once

#include "base/json.h"
#include "server/fields.h"
#include "server/history.h"

namespace blip::server {

// Entries of a page, unless the field "limit" says otherwise, and at most.
inline constexpr int kHistoryPage = 50, kMaxHistoryPage = 200;
// Texts are limited in characters, each of which may take so many of the bytes that History stores.
inline constexpr std::size_t kHistoryBytesPerCharacter = 4;
inline constexpr JsonLimits kHistoryResultLimits{.max_bytes = History::kMaxResult,
                                                 .max_values = 20'000};

// Any method on /v1/history, /v1/history/{id} and /v1/history/{id}/image. Nobody but the owner
// (History::owner_of) of an entry gets to see or change it; without keys all share the owner "".
void answer_history(History& history, const std::string& owner, const InputLimits& limits,
                    Exchange& exchange);
// The same where the server keeps no history.
void answer_no_history(Exchange& exchange);

// The entry as JSON text. Of a row that this server would not have stored it shows what can be
// shown, and says in "error" what cannot.
std::string entry_text(const HistoryEntry& entry);

// The type of a picture a browser may show, by its first bytes; "" for anything else.
std::string picture_type(std::string_view bytes);

}  // namespace blip::server
