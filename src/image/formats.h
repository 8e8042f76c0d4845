// The one table of picture formats: names, endings, media types, first bytes, and what reads them
// here.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "blip/blip.h"
#include "image/decoder.h"

namespace blip::image {

using Decoder = Decoded (*)(const Source&);

struct Format {
  const char* name;
  std::span<const std::string_view> endings;  // lower case, with the dot
  // The first is what a server says of such a file; empty where no client sends it as a picture.
  std::span<const std::string_view> media_types;
  bool (*matches)(Bytes);  // by the first bytes; nullptr = by its ending alone
  Decoder decoder;         // nullptr: this build cannot read it
  const char* library;  // that reads it, in this build or in others; "" = blip itself; nullptr = no
                        // build reads it
};

// All that are known: first those that some build reads.
std::span<const Format> formats();

// By content; nullptr = none that is known. A file of a known format may still be damaged.
const Format* find_format(Bytes bytes);
// By the file name's ending, in any case; nullptr = none that is known.
const Format* find_format_by_ending(std::string_view file_name);
// By its name, "JPEG"; nullptr = none.
const Format* find_format_by_name(std::string_view name);

// How many first bytes find_format() looks at.
constexpr std::size_t kFormatHead = kImageHeadBytes;

// Whether a file without a known ending is a picture: stricter than find_format() where a format's
// mark is short, and without documents and videos.
bool looks_like_picture(Bytes head);

// "JPEG, PNG, WebP": those that this build reads, for messages.
std::string readable_formats();
// Why this build does not read a known format, and what to do.
std::string why_unreadable(const Format& format);

}  // namespace blip::image
