// Counters, gauges and histograms in Prometheus' text format.
//
// Why not a library: prometheus-cpp would take the place of these hundred lines, but it is there
// for none of the old systems that the portable program is built for, and it keeps every value
// twice: most of ours are read from their owners (queues, caches, engines) when they are asked for.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace blip::server {

// name="value", with what Prometheus' text format escapes.
std::string label(const std::string& name, const std::string& value);

class Metrics {
 public:
  // labels: "route=\"/v1/ask\",status=\"200\"", "" = none.
  void count(const std::string& name, const std::string& labels = "", double by = 1);
  // Into the buckets that describe() gave the name.
  void observe(const std::string& name, const std::string& labels, double value);

  // help: one line. buckets: upper bounds of a histogram; none = a counter.
  void describe(const std::string& name, const std::string& help, std::vector<double> buckets = {});
  // Asked when the text is written.
  void gauge(const std::string& name, const std::string& help, std::function<double()> value);

  // One gauge for each of the labels that it returns.
  void gauges(const std::string& name, const std::string& help,
              std::function<std::map<std::string, double>()> values);

  // The same of what only grows.
  void counters(const std::string& name, const std::string& help,
                std::function<std::map<std::string, double>()> values);

  std::string text() const;

 private:
  struct Histogram {
    std::vector<std::uint64_t> counts;  // per bucket, the last one is +Inf
    double sum = 0;
  };
  struct Family {
    std::string help;
    std::vector<double> buckets;
    std::map<std::string, double> values;
    std::map<std::string, Histogram> histograms;
    std::function<std::map<std::string, double>()> asked;  // when the text is written
    bool grows = true;                                     // what is asked
  };
  mutable std::mutex mutex_;
  std::map<std::string, Family> families_;
};

}  // namespace blip::server
