// SPDX-License-Identifier: Apache-2.0
// tensors.json → tensors, in two steps: every entry is checked and counted, then all are written.
#include "engine/checkpoint/fixture.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <vector>

namespace ferrule {
namespace {

constexpr uint64_t kMaxNameBytes = uint64_t{256} << 20;
constexpr int64_t kMaxNumber = 999'999'999;  // as long as a number in a name may be

constexpr size_t kNowhere = std::string_view::npos;

// An entry: its name and what the placeholders in it stand for.
struct Template {
  std::string_view name;
  size_t layer_at = kNowhere, expert_at = kNowhere;  // of `{L}` and `{E}`
  std::vector<uint32_t> layers;
  uint32_t experts = 0;
  Tensor tensor;  // all but the name

  uint64_t Count() const {
    return uint64_t{layers.empty() ? 1 : layers.size()} * (experts == 0 ? 1 : experts);
  }
};

// A number as text, or no text.
class Digits {
 public:
  Digits() = default;
  explicit Digits(uint32_t n) : end_(std::to_chars(text_, text_ + sizeof text_, n).ptr) {}
  std::string_view view() const { return {text_, static_cast<size_t>(end_ - text_)}; }

 private:
  char text_[10] = {};
  const char* end_ = text_;
};

class FixtureReader {
 public:
  FixtureReader(TensorTable* table, Diagnostics* diagnostics)
      : table_(table), diagnostics_(diagnostics) {}

  bool Read(const JsonValue& fixture) {
    const JsonValue entries = fixture.Find("tensors");
    if (!entries.is_array()) return Refuse(fixture, "a fixture is an object with a list `tensors`");
    const size_t before = diagnostics_->count(Level::kError);
    for (const JsonValue entry : entries)
      if (!Entry(entry) && diagnostics_->count(Level::kError) - before >= 20) return false;
    if (diagnostics_->count(Level::kError) > before || !Total(fixture, "total_tensors", tensors_) ||
        !Total(fixture, "total_elements", elements_) || !Total(fixture, "total_bytes", bytes_))
      return false;
    table_->tensors.reserve(tensors_);
    for (const Template& entry : templates_) Expand(entry);
    return true;
  }

 private:
  bool Entry(const JsonValue& entry) {
    if (!entry.is_object())
      return Refuse(entry, fmt::format("expected an object, found {}", JsonKindName(entry.kind())));
    for (const JsonValue value : entry) {
      static const std::vector<std::string> kKeys = {"name", "shape", "dtype", "L", "E"};
      if (std::find(kKeys.begin(), kKeys.end(), value.name()) == kKeys.end())
        return Refuse(value, fmt::format("an entry has a key {} that the format does not have",
                                         Quoted(value.name())));
    }
    Template made;
    return Name(entry, &made) && Shape(entry, &made) && Count(entry, std::move(made));
  }

  bool Name(const JsonValue& entry, Template* made) {
    const JsonValue name = entry.Find("name");
    if (!name.is_string())
      return Refuse(name ? name : entry, "an entry needs a `name`, which is text");
    made->name = name.Text();
    if (std::string problem = NameProblem(made->name); !problem.empty())
      return Refuse(name, std::move(problem), Code::kBadName);
    for (size_t at = made->name.find_first_of("{}"); at != std::string_view::npos;
         at = made->name.find_first_of("{}", at + 3)) {
      size_t* const place = made->name.substr(at, 3) == "{L}"   ? &made->layer_at
                            : made->name.substr(at, 3) == "{E}" ? &made->expert_at
                                                                : nullptr;
      if (!place || *place != kNowhere)
        return Refuse(name,
                      fmt::format("{} may hold `{{L}}` and `{{E}}` once each and no other braces",
                                  Quoted(made->name)));
      *place = at;
    }
    return Layers(entry, made) && Experts(entry, made);
  }

  bool Layers(const JsonValue& entry, Template* made) {
    const JsonValue list = entry.Find("L");
    if (bool(list) != (made->layer_at != kNowhere))
      return Refuse(entry, fmt::format("{}: `{{L}}` in the name and the list `L` go together",
                                       Quoted(made->name)));
    if (!list) return true;
    if (!list.is_array() || list.size() == 0)
      return Refuse(list, "`L` must be a list of layer numbers, not empty");
    if (list.size() > kMaxTensors) return TooMany(list);
    for (const JsonValue number : list) {
      const std::optional<int64_t> n = number.AsInt();
      if (!n || *n < 0 || *n > kMaxNumber)
        return Refuse(number, "a layer number is a whole number from 0 to 999999999");
      made->layers.push_back(static_cast<uint32_t>(*n));
    }
    return true;
  }

  bool Experts(const JsonValue& entry, Template* made) {
    const JsonValue count = entry.Find("E");
    if (bool(count) != (made->expert_at != kNowhere))
      return Refuse(entry, fmt::format("{}: `{{E}}` in the name and the count `E` go together",
                                       Quoted(made->name)));
    if (!count) return true;
    const std::optional<int64_t> n = count.AsInt();
    if (!n || *n < 1) return Refuse(count, "`E` must be the number of experts, at least 1");
    if (*n > static_cast<int64_t>(kMaxTensors)) return TooMany(count);
    made->experts = static_cast<uint32_t>(*n);
    return true;
  }

  bool Shape(const JsonValue& entry, Template* made) {
    const JsonValue dtype = entry.Find("dtype"), shape = entry.Find("shape");
    if (!dtype.is_string())
      return Refuse(dtype ? dtype : entry, "an entry needs a `dtype`, which is text");
    const std::optional<DType> known = DTypeFromName(dtype.Text());
    if (!known)
      return Refuse(dtype,
                    fmt::format("{} has dtype {}, which safetensors does not have",
                                Quoted(made->name), Quoted(dtype.Text())),
                    Code::kBadDtype);
    if (!shape.is_array())
      return Refuse(shape ? shape : entry, "an entry needs a `shape`, which is a list");
    if (shape.size() > kMaxRank)
      return Refuse(shape,
                    fmt::format("{} has more than {} dimensions", Quoted(made->name), kMaxRank),
                    Code::kBadShape);
    made->tensor.dtype = *known;
    made->tensor.rank = static_cast<uint8_t>(shape.size());
    made->tensor.shape_at = static_cast<uint32_t>(table_->dims.size());
    for (const JsonValue dim : shape) {
      const std::optional<int64_t> n = dim.AsInt();
      if (!n || *n < 0)
        return Refuse(
            dim, fmt::format("{}: a dimension is a whole number from 0 on", Quoted(made->name)),
            Code::kBadShape);
      table_->dims.push_back(*n);
    }
    const ByteSize size = CheckedBytes(*known, table_->shape(made->tensor));
    return size.problem.empty() ||
           Refuse(shape, fmt::format("{}: {}", Quoted(made->name), size.problem), size.code);
  }

  // Everything that would be written, before anything is.
  bool Count(const JsonValue& entry, Template made) {
    const uint64_t count = made.Count();
    tensors_ += count;
    if (tensors_ > kMaxTensors) return TooMany(entry);
    name_bytes_ += count * (made.name.size() + 2 * 9);
    if (name_bytes_ > kMaxNameBytes)
      return Refuse(entry, fmt::format("the names take more than {} bytes", kMaxNameBytes),
                    Code::kJsonLimit);
    const uint64_t most = (uint64_t{1} << 62) / count;
    const uint64_t bytes = table_->Bytes(made.tensor), elements = table_->Elements(made.tensor);
    if (bytes > most || elements > most || bytes_ + bytes * count > (uint64_t{1} << 62))
      return Refuse(entry, "the tensors have more than 2^62 bytes", Code::kBadShape);
    bytes_ += bytes * count;
    elements_ += elements * count;
    templates_.push_back(std::move(made));
    return true;
  }

  bool Total(const JsonValue& fixture, const char* key, uint64_t found) {
    const JsonValue total = fixture.Find(key);
    if (!total || total.AsUint() == found) return true;
    return Refuse(total, fmt::format("`{}` is {}, but the entries give {}", key,
                                     total.ToString().substr(0, 40), found));
  }

  void Expand(const Template& entry) {
    // The name is head, number, middle, number, tail; absent placeholders leave empty pieces.
    const auto [one, two] = std::minmax(entry.layer_at, entry.expert_at);
    const auto cut = [&](size_t from, size_t to) {
      from = std::min(from, entry.name.size());
      return entry.name.substr(from, std::min(to, entry.name.size()) - from);
    };
    const auto behind = [](size_t at) { return at == kNowhere ? kNowhere : at + 3; };
    const std::string_view head = cut(0, one), middle = cut(behind(one), two),
                           tail = cut(behind(two), kNowhere);
    // Each number of the inner loop follows the same text, written once per number of the outer.
    const bool layer_first = entry.layer_at <= entry.expert_at;
    const size_t layers = std::max<size_t>(1, entry.layers.size());
    const size_t experts = std::max<size_t>(1, entry.experts);
    const auto layer = [&](size_t i) {
      return entry.layers.empty() ? Digits() : Digits(entry.layers[i]);
    };
    const auto expert = [&](size_t i) {
      return entry.experts == 0 ? Digits() : Digits(static_cast<uint32_t>(i));
    };
    std::string front;
    for (size_t i = 0; i < (layer_first ? layers : experts); ++i) {
      front = head;
      (front += (layer_first ? layer(i) : expert(i)).view()) += middle;
      for (size_t j = 0; j < (layer_first ? experts : layers); ++j) {
        const Digits inner = layer_first ? expert(j) : layer(j);
        const size_t length = front.size() + inner.view().size() + tail.size();
        char* const name = table_->names.Allocate(length);
        char* to = name + front.copy(name, front.size());
        to += inner.view().copy(to, inner.view().size());
        tail.copy(to, tail.size());
        table_->tensors.push_back(entry.tensor);
        table_->tensors.back().name = {name, length};
      }
    }
  }

  bool TooMany(const JsonValue& at) {
    return Refuse(at, fmt::format("the fixture has more than {} tensors", kMaxTensors),
                  Code::kJsonLimit);
  }

  bool Refuse(const JsonValue& at, std::string message, Code code = Code::kBadFixture) {
    diagnostics_->Add(code, std::move(message), at.location());
    return false;
  }

  TensorTable* table_;
  Diagnostics* diagnostics_;
  std::vector<Template> templates_;
  uint64_t tensors_ = 0, elements_ = 0, bytes_ = 0, name_bytes_ = 0;
};

}  // namespace

bool ExpandFixture(const JsonValue& fixture, TensorTable* table, Diagnostics* diagnostics) {
  return FixtureReader(table, diagnostics).Read(fixture);
}

}  // namespace ferrule
