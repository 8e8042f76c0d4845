// Base64 (RFC 4648) and data URLs (RFC 2397), strictly.
//
// Why not a library: those at hand guess where the text is wrong. Boost.Beast's decoder is private
// and stops at the first strange character with success; OpenSSL's, which the server does not
// otherwise need, takes padding in the middle. A picture that arrives altered has to be an error.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace blip::server {

// nullopt: a character outside the alphabet (line breaks are allowed, as MIME writes them), a wrong
// length or padding, or bits left over that are not zero. Padding may be missing.
std::optional<std::string> decode_base64(std::string_view text);

// The bytes of "data:image/png;base64,..." or of bare base64; nullopt as above, or a data URL that
// is not base64.
std::optional<std::string> decode_data_url(std::string_view text);

}  // namespace blip::server
