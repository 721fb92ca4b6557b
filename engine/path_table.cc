// SPDX-License-Identifier: Apache-2.0
#include "engine/path_table.h"

#include <algorithm>
#include <cstring>

namespace ferrule {
namespace {

constexpr uint64_t kMultiplier = 0x9E3779B97F4A7C15u;

uint64_t Mix(uint64_t value) {
  value ^= value >> 32;
  value *= kMultiplier;
  return value ^ (value >> 29);
}

// The number of a segment, -1 when it is not one.
int32_t NumberOf(const char* text, size_t size) {
  if (size == 0 || size > 9 || (text[0] == '0' && size > 1)) return -1;
  int32_t number = 0;
  for (size_t i = 0; i < size; ++i) {
    if (text[i] < '0' || text[i] > '9') return -1;
    number = number * 10 + (text[i] - '0');
  }
  return number;
}

uint64_t HashNumbers(std::span<const int32_t> numbers) {
  uint64_t hash = 0;
  for (const int32_t number : numbers) hash = Mix(hash * 31 + static_cast<uint64_t>(number) + 1);
  return hash;
}

}  // namespace

uint64_t HashBytes(std::string_view bytes) {
  uint64_t hash = bytes.size() * kMultiplier;
  size_t at = 0;
  for (; at + 8 <= bytes.size(); at += 8) {
    uint64_t word;
    std::memcpy(&word, bytes.data() + at, 8);
    hash = (hash ^ word) * kMultiplier;
    hash ^= hash >> 31;
  }
  uint64_t word = 0;
  std::memcpy(&word, bytes.data() + at, bytes.size() - at);
  return Mix(hash ^ word);
}

bool Normalise(std::string_view name, NormalName* out) {
  if (name.size() > kMaxName) return false;
  out->count = 0;
  char* to = out->text;
  const char* at = name.data();
  const char* end = at + name.size();
  for (size_t segments = 0;; ++segments) {
    if (segments == kMaxSegments) return false;
    const void* dot = std::memchr(at, '.', static_cast<size_t>(end - at));
    const char* stop = dot != nullptr ? static_cast<const char*>(dot) : end;
    const size_t size = static_cast<size_t>(stop - at);
    const int32_t number = size > 0 && *at <= '9' && *at >= '0' ? NumberOf(at, size) : -1;
    if (number >= 0) {
      out->numbers[out->count++] = number;
      *to++ = '#';
    } else {
      std::memcpy(to, at, size);
      to += size;
      // A name's own "#" must not look like a number: it becomes "##", "##" becomes "###".
      if (size > 0 && std::string_view(at, size).find_first_not_of('#') == std::string_view::npos)
        *to++ = '#';
    }
    if (dot == nullptr) break;
    *to++ = '.';
    at = stop + 1;
  }
  out->size = static_cast<uint32_t>(to - out->text);
  return true;
}

std::string Concrete(std::string_view normal, std::span<const int32_t> numbers) {
  std::string out;
  out.reserve(normal.size() + numbers.size() * 3);
  size_t next = 0;
  for (size_t at = 0; at <= normal.size();) {
    const size_t end = std::min(normal.find('.', at), normal.size());
    std::string_view segment = normal.substr(at, end - at);
    if (segment == "#" && next < numbers.size()) {
      out += std::to_string(numbers[next++]);
    } else {
      // "##" stands for the name's own "#".
      if (segment.size() > 1 && segment.find_first_not_of('#') == std::string_view::npos)
        segment.remove_prefix(1);
      out += segment;
    }
    if (end < normal.size()) out += '.';
    at = end + 1;
  }
  return out;
}

std::span<const int32_t> PathTable::Numbers(int32_t id, size_t i) const {
  const Entry& entry = entries_[static_cast<size_t>(id)];
  return std::span(entry.numbers).subspan(i * entry.dims, entry.dims);
}

void PathTable::Grow() {
  slots_.assign(std::max<size_t>(64, slots_.size() * 2), -1);
  const size_t mask = slots_.size() - 1;
  for (size_t i = 0; i < entries_.size(); ++i) {
    size_t at = entries_[i].hash & mask;
    while (slots_[at] >= 0) at = (at + 1) & mask;
    slots_[at] = static_cast<int32_t>(i);
  }
}

PathTable::Entry* PathTable::Intern(std::string_view normal) {
  if (last_ >= 0 && entries_[static_cast<size_t>(last_)].text == normal)
    return &entries_[static_cast<size_t>(last_)];
  int32_t id = Find(normal);
  if (id < 0) {
    if ((entries_.size() + 1) * 2 > slots_.size()) Grow();
    id = static_cast<int32_t>(entries_.size());
    Entry entry;
    entry.text = std::string(normal);
    entry.hash = HashBytes(normal);
    const size_t mask = slots_.size() - 1;
    size_t at = entry.hash & mask;
    while (slots_[at] >= 0) at = (at + 1) & mask;
    slots_[at] = id;
    entries_.push_back(std::move(entry));
  }
  last_ = id;
  return &entries_[static_cast<size_t>(id)];
}

int32_t PathTable::Add(std::string_view name, int32_t value) {
  NormalName normal;
  if (!Normalise(name, &normal)) return -1;
  return Add(normal.view(), std::span<const int32_t>(normal.numbers, normal.count), value);
}

int32_t PathTable::Add(std::string_view normal, std::span<const int32_t> numbers, int32_t value) {
  Entry* entry = Intern(normal);
  entry->dims = static_cast<uint32_t>(numbers.size());
  entry->numbers.insert(entry->numbers.end(), numbers.begin(), numbers.end());
  entry->values.push_back(value);
  return last_;
}

std::vector<PathTable::Duplicate> PathTable::Seal() {
  std::vector<Duplicate> duplicates;
  for (Entry& entry : entries_) {
    const size_t dims = entry.dims, count = entry.values.size();
    entry.low.assign(dims, INT32_MAX);
    entry.extent.assign(dims, 0);
    std::vector<int32_t> high(dims, -1);
    for (size_t i = 0; i < count; ++i)
      for (size_t d = 0; d < dims; ++d) {
        const int32_t number = entry.numbers[i * dims + d];
        entry.low[d] = std::min(entry.low[d], number);
        high[d] = std::max(high[d], number);
      }
    uint64_t cells = 1;
    const uint64_t limit = 4 * count + 1024;
    for (size_t d = 0; d < dims; ++d) {
      entry.extent[d] = high[d] - entry.low[d] + 1;
      cells = std::min(limit + 1, cells * static_cast<uint64_t>(entry.extent[d]));
    }
    entry.dense = cells <= limit;
    if (!entry.dense) {
      size_t size = 64;
      while (size < count * 2) size *= 2;
      cells = size;
    }
    entry.cells.assign(cells, -1);  // positions in `values`
    for (size_t i = 0; i < count; ++i) {
      const std::span<const int32_t> numbers(entry.numbers.data() + i * dims, dims);
      const size_t at = static_cast<size_t>(Probe(entry, numbers));
      if (entry.cells[at] >= 0)
        duplicates.push_back({entry.values[static_cast<size_t>(entry.cells[at])], entry.values[i]});
      else
        entry.cells[at] = static_cast<int32_t>(i);
    }
  }
  return duplicates;
}

// The cell where these numbers are or would be; -1 when they are outside of the box.
int32_t PathTable::Probe(const Entry& entry, std::span<const int32_t> numbers) const {
  if (entry.dense) {
    int64_t at = 0;
    for (size_t d = 0; d < numbers.size(); ++d) {
      const int64_t offset = int64_t{numbers[d]} - entry.low[d];
      if (offset < 0 || offset >= entry.extent[d]) return -1;
      at = at * entry.extent[d] + offset;
    }
    return static_cast<int32_t>(at);
  }
  const size_t mask = entry.cells.size() - 1;
  size_t at = HashNumbers(numbers) & mask;
  for (; entry.cells[at] >= 0; at = (at + 1) & mask) {
    const int32_t* other = entry.numbers.data() + static_cast<size_t>(entry.cells[at]) * entry.dims;
    if (std::equal(numbers.begin(), numbers.end(), other)) break;
  }
  return static_cast<int32_t>(at);
}

int32_t PathTable::Find(std::string_view normal) const {
  if (slots_.empty()) return -1;
  const uint64_t hash = HashBytes(normal);
  const size_t mask = slots_.size() - 1;
  for (size_t at = hash & mask; slots_[at] >= 0; at = (at + 1) & mask) {
    const Entry& entry = entries_[static_cast<size_t>(slots_[at])];
    if (entry.hash == hash && entry.text == normal) return slots_[at];
  }
  return -1;
}

int32_t PathTable::At(int32_t id, std::span<const int32_t> numbers) const {
  if (id < 0) return -1;
  const Entry& entry = entries_[static_cast<size_t>(id)];
  if (numbers.size() != entry.dims || entry.cells.empty()) return -1;
  const int32_t at = Probe(entry, numbers);
  if (at < 0 || entry.cells[static_cast<size_t>(at)] < 0) return -1;
  return entry.values[static_cast<size_t>(entry.cells[static_cast<size_t>(at)])];
}

int32_t PathTable::At(std::string_view name) const {
  NormalName normal;
  if (!Normalise(name, &normal)) return -1;
  return At(Find(normal.view()), std::span<const int32_t>(normal.numbers, normal.count));
}

}  // namespace ferrule
