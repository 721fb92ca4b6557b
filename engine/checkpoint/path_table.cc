// SPDX-License-Identifier: Apache-2.0
#include "engine/checkpoint/path_table.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "engine/text/words.h"

namespace ferrule {
namespace {

// Steps after which names are taken to collide on purpose: a table at most half full needs more
// than 100 by chance about never.
constexpr size_t kMaxSteps = 128;

// The number of the segment from `at` on, -1 when it is not one; `stop` becomes its end.
int32_t NumberOf(const char* at, const char* end, const char** stop) {
  uint32_t number = 0;
  const char* p = at;
  for (; p != end && static_cast<uint8_t>(*p - '0') < 10; ++p)
    number = number * 10 + static_cast<uint32_t>(*p - '0');
  const bool whole =
      p != at && (p == end || *p == '.') && p - at <= 9 && (*at != '0' || p - at == 1);
  while (p != end && *p != '.') ++p;
  *stop = p;
  return whole ? static_cast<int32_t>(number) : -1;
}

uint64_t HashNumbers(std::span<const int32_t> numbers) {
  uint64_t hash = 0;
  for (const int32_t number : numbers)
    hash = MixHash(hash * 31 + static_cast<uint64_t>(number) + 1);
  return hash;
}

}  // namespace

bool Normalise(std::string_view name, NormalName* out) {
  if (name.size() > kMaxName) return false;
  out->count = 0;
  out->size = 0;
  if (name.empty()) return true;
  char* to = out->text;
  const char* const end = name.data() + name.size();
  const char* copied = name.data();  // what is before is in `to`
  size_t segments = 1;
  // A number is replaced as a whole, everything else is copied as it stands.
  const auto segment = [&](const char* at) __attribute__((always_inline)) {
    if (at == end || (*at != '#' && (*at < '0' || *at > '9'))) return;
    const char* stop = at;
    const int32_t number = NumberOf(at, end, &stop);
    const std::string_view text(at, static_cast<size_t>(stop - at));
    // A name's own "#" must not look like a number: it becomes "##", "##" becomes "###".
    if (number < 0 && text.find_first_not_of('#') != std::string_view::npos) return;
    const char* const upto = number < 0 ? stop : at;
    CopyShort(to, copied, static_cast<size_t>(upto - copied), static_cast<size_t>(end - copied));
    to += upto - copied;
    *to++ = '#';
    copied = stop;
    if (number >= 0) out->numbers[out->count++] = number;
  };
  segment(name.data());
  const bool few = EachDot(name, [&](size_t dot) {
    if (++segments > kMaxSegments) return false;
    segment(name.data() + dot + 1);
    return true;
  });
  if (!few) return false;
  std::memcpy(to, copied, static_cast<size_t>(end - copied));
  out->size = static_cast<uint32_t>(to + (end - copied) - out->text);
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

// Makes a new template findable.
void PathTable::Place(int32_t id) {
  const Entry& entry = entries_[static_cast<size_t>(id)];
  if (!by_text_.empty()) {
    by_text_.emplace(entry.text, id);
    return;
  }
  if (entries_.size() * 2 > slots_.size()) return Grow();
  const size_t mask = slots_.size() - 1;
  size_t at = entry.hash & mask, steps = 0;
  for (; slots_[at] >= 0; at = (at + 1) & mask) ++steps;
  slots_[at] = id;
  if (steps <= kMaxSteps) return;
  for (size_t i = 0; i < entries_.size(); ++i)
    by_text_.emplace(entries_[i].text, static_cast<int32_t>(i));
}

PathTable::Entry* PathTable::Intern(std::string_view normal) {
  // Names come in runs of one template, or in turns that repeat for each expert.
  int32_t* const guess = last_ < 0 ? nullptr : &entries_[static_cast<size_t>(last_)].follower;
  if (guess != nullptr && entries_[static_cast<size_t>(*guess)].text == normal) {
    last_ = *guess;
    return &entries_[static_cast<size_t>(last_)];
  }
  int32_t id = Find(normal);
  if (id < 0) {
    id = static_cast<int32_t>(entries_.size());
    Entry entry;
    entry.text = std::string(normal);
    entry.hash = HashName(normal);
    entry.follower = id;
    entries_.push_back(std::move(entry));
    Place(id);
  }
  if (last_ >= 0) entries_[static_cast<size_t>(last_)].follower = id;
  last_ = id;
  return &entries_[static_cast<size_t>(id)];
}

int32_t PathTable::Add(std::string_view name, int32_t value) {
  NormalName normal;
  if (!Normalise(name, &normal)) return -1;
  return Add(normal.view(), std::span<const int32_t>(normal.numbers, normal.count), value);
}

int32_t PathTable::Add(std::string_view normal, std::span<const int32_t> numbers, int32_t value) {
  return AddRun(normal, numbers, 0, 1, value);
}

int32_t PathTable::AddRun(std::string_view normal, std::span<const int32_t> numbers,
                          size_t position, int32_t count, int32_t value) {
  Entry* entry = Intern(normal);
  entry->dims = static_cast<uint32_t>(numbers.size());
  for (int32_t i = 0; i < count; ++i) {
    entry->values.push_back(value + i);
    for (size_t d = 0; d < numbers.size(); ++d)
      entry->numbers.push_back(numbers[d] + (d == position ? i : 0));
  }
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
    entry.cells.assign(cells, -1);
    const size_t before = duplicates.size();
    for (size_t i = 0; i < count; ++i) {
      const std::span<const int32_t> numbers(entry.numbers.data() + i * dims, dims);
      size_t steps = 0;
      const size_t at = static_cast<size_t>(Probe(entry, numbers, &steps));
      if (steps > kMaxSteps) {
        duplicates.resize(before);
        Sort(&entry, &duplicates);
        break;
      }
      if (entry.cells[at] >= 0)
        duplicates.push_back({ValueAt(entry, at), entry.values[i]});
      else
        entry.cells[at] = entry.dense ? entry.values[i] : static_cast<int32_t>(i);
    }
  }
  return duplicates;
}

void PathTable::Renumber(std::span<const int32_t> to) {
  for (Entry& entry : entries_) {
    for (int32_t& value : entry.values) value = to[static_cast<size_t>(value)];
    if (!entry.dense) continue;  // its cells are positions in `values`
    for (int32_t& cell : entry.cells)
      if (cell >= 0) cell = to[static_cast<size_t>(cell)];
  }
}

// The cell where these numbers are or would be; -1 when they are outside of the box.
int32_t PathTable::Probe(const Entry& entry, std::span<const int32_t> numbers,
                         size_t* steps) const {
  if (entry.dense) {
    int64_t at = 0;
    for (size_t d = 0; d < numbers.size(); ++d) {
      const int64_t offset = int64_t{numbers[d]} - entry.low[d];
      if (offset < 0 || offset >= entry.extent[d]) return -1;
      at = at * entry.extent[d] + offset;
    }
    return static_cast<int32_t>(at);
  }
  if (entry.sorted) return Search(entry, numbers);
  const size_t mask = entry.cells.size() - 1;
  size_t at = HashNumbers(numbers) & mask;
  for (; entry.cells[at] >= 0; at = (at + 1) & mask) {
    if (steps != nullptr) ++*steps;
    const int32_t* other = entry.numbers.data() + static_cast<size_t>(entry.cells[at]) * entry.dims;
    if (std::equal(numbers.begin(), numbers.end(), other)) break;
  }
  return static_cast<int32_t>(at);
}

int32_t PathTable::Search(const Entry& entry, std::span<const int32_t> numbers) const {
  const auto of = [&](int32_t i) {
    return std::span(entry.numbers).subspan(static_cast<size_t>(i) * entry.dims, entry.dims);
  };
  const auto at = std::lower_bound(entry.cells.begin(), entry.cells.end(), numbers,
                                   [&](int32_t i, const auto& wanted) {
                                     return std::lexicographical_compare(
                                         of(i).begin(), of(i).end(), wanted.begin(), wanted.end());
                                   });
  const bool found = at != entry.cells.end() &&
                     std::equal(numbers.begin(), numbers.end(), of(*at).begin(), of(*at).end());
  return found ? static_cast<int32_t>(at - entry.cells.begin()) : -1;
}

void PathTable::Sort(Entry* entry, std::vector<Duplicate>* duplicates) {
  const auto less = [&](int32_t a, int32_t b) {
    const auto begin = entry->numbers.begin();
    const auto at = [&](int32_t i) { return begin + static_cast<ptrdiff_t>(i) * entry->dims; };
    return std::lexicographical_compare(at(a), at(a) + entry->dims, at(b), at(b) + entry->dims);
  };
  std::vector<int32_t>& cells = entry->cells;
  cells.resize(entry->values.size());
  std::iota(cells.begin(), cells.end(), 0);
  std::stable_sort(cells.begin(), cells.end(), less);
  std::vector<std::pair<int32_t, int32_t>> twice;  // the later one, the first of its numbers
  size_t kept = 0;
  for (const int32_t i : std::vector<int32_t>(cells)) {
    if (kept > 0 && !less(cells[kept - 1], i))
      twice.emplace_back(i, cells[kept - 1]);
    else
      cells[kept++] = i;
  }
  cells.resize(kept);
  std::sort(twice.begin(), twice.end());
  for (const auto& [later, first] : twice)
    duplicates->push_back(
        {entry->values[static_cast<size_t>(first)], entry->values[static_cast<size_t>(later)]});
  entry->sorted = true;
}

int32_t PathTable::Find(std::string_view normal) const {
  if (!by_text_.empty()) {
    const auto at = by_text_.find(normal);
    return at == by_text_.end() ? -1 : at->second;
  }
  if (slots_.empty()) return -1;
  const uint64_t hash = HashName(normal);
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
  return at < 0 ? -1 : ValueAt(entry, static_cast<size_t>(at));
}

int32_t PathTable::ValueAt(const Entry& entry, size_t cell) {
  const int32_t at = entry.cells[cell];
  return entry.dense || at < 0 ? at : entry.values[static_cast<size_t>(at)];
}

PathTable::Run PathTable::Along(int32_t id, std::span<const int32_t> numbers, int position) const {
  Run run;
  if (id < 0) return run;
  const Entry& entry = entries_[static_cast<size_t>(id)];
  if (numbers.size() != entry.dims || entry.cells.empty()) return run;
  if (!entry.dense) {
    run.table_ = this;
    run.id_ = id;
    run.position_ = position;
    run.numbers_ = numbers;
    return run;
  }
  uint64_t at = 0;
  for (size_t d = 0; d < numbers.size(); ++d) {
    const int64_t offset = int64_t{numbers[d]} - entry.low[d];
    const uint64_t extent = static_cast<uint64_t>(entry.extent[d]);
    at *= extent;
    run.stride_ *= extent;
    if (static_cast<int>(d) == position) {
      run.first_ = offset;
      run.extent_ = extent;
      run.stride_ = 1;
    } else if (offset < 0 || offset >= entry.extent[d]) {
      return Run();
    } else {
      at += static_cast<uint64_t>(offset);
    }
  }
  run.cells_ = entry.cells.data() + at;
  return run;
}

int32_t PathTable::Run::Slow(int32_t i) const {
  int32_t numbers[kMaxSegments];
  std::copy(numbers_.begin(), numbers_.end(), numbers);
  if (position_ >= 0) numbers[position_] += i;
  return table_->At(id_, std::span<const int32_t>(numbers, numbers_.size()));
}

int32_t PathTable::At(std::string_view name) const {
  NormalName normal;
  if (!Normalise(name, &normal)) return -1;
  return At(Find(normal.view()), std::span<const int32_t>(normal.numbers, normal.count));
}

}  // namespace ferrule
