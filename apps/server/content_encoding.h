// Bodies that were compressed on their way.
#pragma once

#include <cstddef>

#include "server/http.h"
#include "server/memory_budget.h"

namespace blip::server {

// Unpacks a body of Content-Encoding gzip or deflate in place, to at most max_body bytes. Throws
// Problem(payload_too_large | unsupported_media_type | invalid_request | out_of_memory).
void unpack_body(Exchange& exchange, std::size_t max_body, MemoryBudget& memory);

}  // namespace blip::server
