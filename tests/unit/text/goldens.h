// Answers of the reference, written by tests/reference/text.py.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>

namespace blip::text {

inline std::string read_golden(const std::string& name) {
  std::ifstream file(std::string(BLIP_TEST_DATA "/text/") + name, std::ios::binary);
  EXPECT_TRUE(file) << name;
  return {std::istreambuf_iterator<char>(file), {}};
}

inline nlohmann::json json_golden(const std::string& name) {
  return nlohmann::json::parse(read_golden(name));
}

}  // namespace blip::text
