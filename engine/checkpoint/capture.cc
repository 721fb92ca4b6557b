// SPDX-License-Identifier: Apache-2.0
// The inverse of fixture.cc: names are cut at their numbers, equal forms are joined.
#include "engine/checkpoint/capture.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "engine/text/json_writer.h"

namespace ferrule {
namespace {

// A number as the fixture reader writes it back: 0, or 1 to 9 digits without a leading zero.
bool IsNumber(std::string_view text) {
  if (text.empty() || text.size() > 9 || (text.size() > 1 && text[0] == '0')) return false;
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

uint32_t ToNumber(std::string_view digits) {
  uint32_t n = 0;
  for (const char c : digits) n = n * 10 + static_cast<uint32_t>(c - '0');
  return n;
}

// A name with its first two whole-segment numbers taken out: head, number, middle, number, tail.
struct CutName {
  std::string_view head, middle, tail;
  uint32_t numbers[2] = {0, 0};
  int count = 0;
};

CutName CutAtNumbers(std::string_view name) {
  CutName cut;
  size_t begin = 0, copied = 0;
  while (begin <= name.size() && cut.count < 2) {
    const size_t end = std::min(name.find('.', begin), name.size());
    const std::string_view segment = name.substr(begin, end - begin);
    if (IsNumber(segment)) {
      (cut.count == 0 ? cut.head : cut.middle) = name.substr(copied, begin - copied);
      cut.numbers[cut.count++] = ToNumber(segment);
      copied = end;
    }
    begin = end + 1;
  }
  (cut.count == 0 ? cut.head : cut.tail) = name.substr(copied);
  return cut;
}

// What names must share to become one entry.
struct Form {
  std::string_view head, middle, tail;
  int numbers = 0;
  DType dtype = DType::kBool;
  std::vector<int64_t> shape;
  friend bool operator<(const Form& a, const Form& b) {
    return std::tie(a.head, a.middle, a.tail, a.numbers, a.dtype, a.shape) <
           std::tie(b.head, b.middle, b.tail, b.numbers, b.dtype, b.shape);
  }
};

using Layers = std::vector<uint32_t>;

class Writer {
 public:
  explicit Writer(JsonWriter* json) : json_(*json) {}

  void Write(const Form& form, std::map<uint32_t, Layers>&& experts_of) {
    if (form.numbers == 0) return Entry(form, std::string(form.head), {}, 0);
    const std::string head = std::string(form.head) + "{L}";
    if (form.numbers == 1) {
      Layers layers;
      for (const auto& [layer, unused] : experts_of) layers.push_back(layer);
      return Entry(form, head + std::string(form.tail), layers, 0);
    }
    std::map<uint32_t, Layers> whole, single;  // count of experts, or one number → layers
    for (auto& [layer, experts] : experts_of) {
      std::sort(experts.begin(), experts.end());
      if (experts.size() > 1 && experts.back() + 1 == experts.size())
        whole[static_cast<uint32_t>(experts.size())].push_back(layer);
      else
        for (const uint32_t expert : experts) single[expert].push_back(layer);
    }
    for (const auto& [count, layers] : whole)
      Entry(form, fmt::format("{}{}{{E}}{}", head, form.middle, form.tail), layers, count);
    for (const auto& [number, layers] : single)
      Entry(form, fmt::format("{}{}{}{}", head, form.middle, number, form.tail), layers, 0);
  }

  size_t entries() const { return entries_; }

 private:
  void Entry(const Form& form, const std::string& name, const Layers& layers, uint32_t experts) {
    ++entries_;
    json_.Line().BeginObject().Key("name").Text(name).Key("shape").Ints(form.shape);
    json_.Key("dtype").Text(DTypeName(form.dtype));
    if (!layers.empty()) json_.Key("L").Ints({layers.begin(), layers.end()});
    if (experts > 0) json_.Key("E").Int(experts);
    json_.EndObject();
  }

  JsonWriter& json_;
  size_t entries_ = 0;
};

}  // namespace

CapturedListing CaptureListing(const Checkpoint& checkpoint, const CaptureNotes& notes) {
  std::map<Form, std::map<uint32_t, Layers>> forms;
  uint64_t elements = 0, bytes = 0;
  for (const Tensor& tensor : checkpoint.tensors()) {
    const CutName cut = CutAtNumbers(tensor.name);
    const std::span<const int64_t> shape = checkpoint.shape(tensor);
    Form form{cut.head,  cut.middle,   cut.tail,
              cut.count, tensor.dtype, {shape.begin(), shape.end()}};
    forms[std::move(form)][cut.numbers[0]].push_back(cut.numbers[1]);
    elements += checkpoint.table.Elements(tensor);
    bytes += checkpoint.table.Bytes(tensor);
  }
  JsonWriter json;
  json.BeginObject();
  if (!notes.model.empty()) json.Line().Key("model").Text(notes.model);
  if (!notes.note.empty()) json.Line().Key("note").Text(notes.note);
  json.Line().Key("total_tensors").Int(static_cast<int64_t>(checkpoint.tensors().size()));
  json.Line().Key("total_elements").Int(static_cast<int64_t>(elements));
  json.Line().Key("total_bytes").Int(static_cast<int64_t>(bytes));
  json.Line().Key("tensors").BeginArray();
  Writer writer(&json);
  for (auto& [form, layers] : forms) writer.Write(form, std::move(layers));
  json.EndArray().EndObject();
  return {json.Take() + "\n", writer.entries()};
}

bool SameListing(const Checkpoint& a, const Checkpoint& b, std::string* difference) {
  for (const Tensor& tensor : a.tensors()) {
    const Tensor* const other = b.Find(tensor.name);
    if (other != nullptr && other->dtype == tensor.dtype &&
        std::ranges::equal(a.shape(tensor), b.shape(*other)))
      continue;
    *difference = tensor.name;
    return false;
  }
  if (a.tensors().size() == b.tensors().size()) return true;
  for (const Tensor& tensor : b.tensors()) {
    if (a.Find(tensor.name) != nullptr) continue;
    *difference = tensor.name;
    break;
  }
  return false;
}

}  // namespace ferrule
