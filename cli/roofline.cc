// SPDX-License-Identifier: Apache-2.0
#include "cli/roofline.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <string_view>

namespace ferrule::cli {
namespace {

constexpr double kLeft = 60, kTop = 50, kWidth = 640, kHeight = 380;
constexpr double kLegend = 220;  // beside the plot
// Of shapes in turn; the mean is black.
constexpr const char* kColors[] = {"#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd",
                                   "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"};

std::string Escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (static_cast<unsigned char>(c) >= ' ')
      out += c;
  }
  return out;
}

std::vector<std::string_view> Fields(std::string_view line) {
  std::vector<std::string_view> fields;
  for (size_t begin = 0; begin <= line.size();) {
    const size_t end = std::min(line.find('\t', begin), line.size());
    fields.push_back(line.substr(begin, end - begin));
    begin = end + 1;
  }
  return fields;
}

bool Number(std::string_view text, double* value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && end == text.data() + text.size() && std::isfinite(*value) &&
         *value > 0;
}

struct Plot {
  double least = 0, most = 1;  // log2 of tokens
  double X(double tokens) const {
    return kLeft + kWidth * (std::log2(tokens) - least) / std::max(most - least, 1e-9);
  }
  static double Y(double part) { return kTop + kHeight * (1 - std::min(part, 1.0)); }
};

std::string Line(const Plot& plot, const std::vector<std::pair<double, double>>& points,
                 std::string_view color, double width, std::string_view name) {
  std::string text = fmt::format(
      "<polyline fill=\"none\" stroke=\"{}\" stroke-width=\"{}\" points=\"", color, width);
  for (const auto& [tokens, part] : points)
    text += fmt::format("{:.1f},{:.1f} ", plot.X(tokens), Plot::Y(part));
  text.pop_back();
  return text + fmt::format("\"><title>{}</title></polyline>\n", Escaped(name));
}

}  // namespace

bool ReadBench(const std::string& table, std::vector<BenchCell>* cells, std::string* about,
               int* wrong) {
  int number = 0;
  for (size_t begin = 0; begin < table.size();) {
    const size_t end = std::min(table.find('\n', begin), table.size());
    const std::string_view line(table.data() + begin, end - begin);
    begin = end + 1;
    *wrong = ++number;
    if (line.empty() || line.starts_with("shape\t")) continue;
    if (line[0] == '#') {
      if (about->empty()) *about = line.substr(std::min<size_t>(2, line.size()));
      continue;
    }
    // shape M N K way us spread floor_us of_floor …
    const std::vector<std::string_view> fields = Fields(line);
    BenchCell cell;
    if (fields.size() < 9 || !Number(fields[1], &cell.tokens)) return false;
    if (fields[4] != "rule") continue;
    if (!Number(fields[8], &cell.of_floor)) return false;
    cell.shape = fields[0];
    cells->push_back(std::move(cell));
  }
  return true;
}

std::string Roofline(const std::vector<BenchCell>& cells, const std::string& about) {
  Plot plot;
  plot.least = 64;
  plot.most = 0;
  std::vector<std::string> shapes;  // in the order of the table
  std::map<std::string, std::vector<std::pair<double, double>>> lines;
  std::map<double, std::pair<double, int>> logs;  // tokens → sum of logarithms, count
  for (const BenchCell& cell : cells) {
    plot.least = std::min(plot.least, std::log2(cell.tokens));
    plot.most = std::max(plot.most, std::log2(cell.tokens));
    if (lines.count(cell.shape) == 0) shapes.push_back(cell.shape);
    lines[cell.shape].emplace_back(cell.tokens, cell.of_floor);
    auto& [sum, count] = logs[cell.tokens];
    sum += std::log(cell.of_floor);
    ++count;
  }
  const double right = kLeft + kWidth, bottom = kTop + kHeight;
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" "
      "height=\"{1}\" font-family=\"sans-serif\" font-size=\"12\">\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
      "<text x=\"{2}\" y=\"20\" font-size=\"15\">Time of the floor over time taken</text>\n"
      "<text x=\"{2}\" y=\"38\" fill=\"#555\">{3}</text>\n",
      right + kLegend, bottom + 50, kLeft, Escaped(about));
  for (int part = 0; part <= 100; part += 20)
    svg += fmt::format(
        "<line x1=\"{0}\" x2=\"{1}\" y1=\"{2:.1f}\" y2=\"{2:.1f}\" stroke=\"#ddd\"/>"
        "<text x=\"{3}\" y=\"{4:.1f}\" text-anchor=\"end\">{5} %</text>\n",
        kLeft, right, Plot::Y(part / 100.0), kLeft - 6, Plot::Y(part / 100.0) + 4, part);
  for (const auto& [tokens, sum] : logs)
    svg += fmt::format(
        "<line x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1}\" y2=\"{2}\" stroke=\"#eee\"/>"
        "<text x=\"{0:.1f}\" y=\"{3}\" text-anchor=\"middle\">{4:g}</text>\n",
        plot.X(tokens), kTop, bottom, bottom + 18, tokens);
  svg += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">tokens</text>\n",
                     kLeft + kWidth / 2, bottom + 38);
  double legend = kTop + 4;
  const auto entry = [&](std::string_view color, std::string_view name) {
    svg += fmt::format("<text x=\"{}\" y=\"{}\" fill=\"{}\">{}</text>\n", right + 12, legend, color,
                       Escaped(name));
    legend += 14;
  };
  for (size_t i = 0; i < shapes.size(); ++i) {
    auto& points = lines[shapes[i]];
    std::sort(points.begin(), points.end());
    const char* color = kColors[i % std::size(kColors)];
    svg += Line(plot, points, color, 1, shapes[i]);
    entry(color, shapes[i]);
  }
  std::vector<std::pair<double, double>> mean;
  mean.reserve(logs.size());
  for (const auto& [tokens, sum] : logs)
    mean.emplace_back(tokens, std::exp(sum.first / sum.second));
  svg += Line(plot, mean, "black", 2.5, "geometric mean");
  entry("black", "geometric mean");
  return svg + "</svg>\n";
}

}  // namespace ferrule::cli
