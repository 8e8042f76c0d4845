#include "server/metrics.h"

#include <algorithm>
#include <charconv>
#include <cstdint>

namespace blip::server {
namespace {

std::string number(double value) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

std::string braces(const std::string& labels) { return labels.empty() ? "" : "{" + labels + "}"; }

}  // namespace

std::string label(const std::string& name, const std::string& value) {
  std::string text = name + "=\"";
  for (const char c : value) {
    if (c == '\\' || c == '"') text += '\\';
    if (c == '\n')
      text += "\\n";
    else
      text += c;
  }
  return text + "\"";
}

void Metrics::describe(const std::string& name, const std::string& help,
                       std::vector<double> buckets) {
  const std::lock_guard lock(mutex_);
  families_[name].help = help;
  families_[name].buckets = std::move(buckets);
}

void Metrics::gauge(const std::string& name, const std::string& help,
                    std::function<double()> value) {
  gauges(name, help, [value = std::move(value)] {
    return std::map<std::string, double>{{"", value()}};
  });
}

void Metrics::gauges(const std::string& name, const std::string& help,
                     std::function<std::map<std::string, double>()> values) {
  const std::lock_guard lock(mutex_);
  families_[name].help = help;
  families_[name].asked = std::move(values);
  families_[name].grows = false;
}

void Metrics::counters(const std::string& name, const std::string& help,
                       std::function<std::map<std::string, double>()> values) {
  const std::lock_guard lock(mutex_);
  families_[name].help = help;
  families_[name].asked = std::move(values);
}

void Metrics::count(const std::string& name, const std::string& labels, double by) {
  const std::lock_guard lock(mutex_);
  families_[name].values[labels] += by;
}

void Metrics::observe(const std::string& name, const std::string& labels, double value) {
  const std::lock_guard lock(mutex_);
  Family& family = families_[name];
  Histogram& histogram = family.histograms[labels];
  histogram.counts.resize(family.buckets.size() + 1);
  const auto bucket = std::lower_bound(family.buckets.begin(), family.buckets.end(), value) -
                      family.buckets.begin();
  ++histogram.counts[static_cast<std::size_t>(bucket)];
  histogram.sum += value;
}

std::string Metrics::text() const {
  const std::lock_guard lock(mutex_);
  std::string out;
  for (const auto& [name, family] : families_) {
    const char* type = !family.grows ? "gauge" : family.buckets.empty() ? "counter" : "histogram";
    out += "# HELP " + name + " " + family.help + "\n# TYPE " + name + " " + type + "\n";
    for (const auto& [labels, value] : family.asked ? family.asked() : family.values)
      out += name + braces(labels) + " " + number(value) + "\n";
    for (const auto& [labels, histogram] : family.histograms) {
      const std::string before = labels.empty() ? "" : labels + ",";
      std::uint64_t total = 0;
      for (std::size_t i = 0; i < histogram.counts.size(); ++i) {
        total += histogram.counts[i];
        const std::string bound = i < family.buckets.size() ? number(family.buckets[i]) : "+Inf";
        out += name + "_bucket{" + before + "le=\"" + bound + "\"} " + std::to_string(total) + "\n";
      }
      out += name + "_sum" + braces(labels) + " " + number(histogram.sum) + "\n";
      out += name + "_count" + braces(labels) + " " + std::to_string(total) + "\n";
    }
  }
  return out;
}

}  // namespace blip::server
